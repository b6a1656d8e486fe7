# Degrees of freedom of nlme's lme, by its inner-outer rule, of nested and unbalanced groups.
# Run in this folder: Rscript make_nlme_df.R > nlme_df.json. nlme 3.1-162.
suppressPackageStartupMessages({library(nlme); library(jsonlite)})
read <- function(name) read.csv(file.path("data", paste0(name, ".csv")), stringsAsFactors = TRUE)
entry <- function(data, ours, fixed, random, made = identity) {
  model <- lme(fixed, made(read(data)), random, control = lmeControl(opt = "optim"))
  list(data = data, formula = ours, df = as.list(model$fixDF$X))
}
nested <- function(d) within(d, district <- factor(as.integer(g) %% 7))
cat(toJSON(list(
  entry("Oats", "`yield` ~ nitro * Variety + (1 | Block/Variety)", yield ~ nitro * Variety, ~ 1 | Block/Variety),
  entry("Pastes", "strength ~ 1 + (1 | batch/cask)", strength ~ 1, ~ 1 | batch/cask),
  entry("factors_unb", "y ~ a * x + c + (1 | g)", y ~ a * x + c, ~ 1 | g),
  entry("factors_unb", "y ~ a + c * x + (x | g)", y ~ a + c * x, ~ x | g),
  entry("factors_unb", "y ~ a * c + (1 | district) + (1 | g)", y ~ a * c, ~ 1 | district/g, nested)
), digits = NA, auto_unbox = TRUE, pretty = 1), "\n")
