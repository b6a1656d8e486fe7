"""Did it converge, is it on a boundary, how do the residuals look."""
