# nlme's gls with an unstructured covariance over positions: bare binary columns, as for lme4.
# Arguments: formula, TRUE or FALSE for REML, folder of columns, (unused), repeats, us(position | group).
suppressPackageStartupMessages(library(nlme))

given <- commandArgs(trailingOnly = TRUE)
folder <- given[3]
repeats <- as.integer(given[5])
places <- strsplit(gsub("us\\(|\\)| ", "", given[6]), "|", fixed = TRUE)[[1]]

read_column <- function(file) {
  path <- file.path(folder, file)
  if (endsWith(file, ".f64")) {
    readBin(path, "double", n = file.size(path) / 8)
  } else {
    factor(readBin(path, "integer", n = file.size(path) / 4))
  }
}
files <- list.files(folder)
data <- lapply(files, read_column)
names(data) <- sub("\\.[^.]*$", "", files)
data <- as.data.frame(data)
data$position <- as.integer(data[[places[1]]])

fit <- function() {
  gls(as.formula(given[1]), data,
    correlation = corSymm(form = as.formula(paste("~ position |", places[2]))),
    weights = varIdent(form = as.formula(paste("~ 1 |", places[1]))),
    method = if (as.logical(given[2])) "REML" else "ML",
    control = glsControl(maxIter = 200, msMaxIter = 400)
  )
}
found <- fit()
warm <- "null"
if (repeats > 0) {
  taken <- replicate(repeats, 1e3 * sum(system.time(fit())[1:2]))
  warm <- sprintf("%.3f", median(taken))
}
cat(sprintf(
  '{"minus2ll": %.10f, "warm_ms": %s, "versions": {"nlme": "%s", "R": "%s"}}\n',
  -2 * as.numeric(logLik(found)), warm, packageVersion("nlme"), getRversion()
))
