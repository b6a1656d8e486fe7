# lme4: bare binary columns (cheaper for R than Parquet), no check of derivatives.
# Arguments: formula, TRUE or FALSE for REML, folder of columns, grouping columns, repeats.
suppressPackageStartupMessages(library(lme4))

given <- commandArgs(trailingOnly = TRUE)
folder <- given[3]
grouping <- strsplit(given[4], ",", fixed = TRUE)[[1]]
repeats <- as.integer(given[5])

read_column <- function(file) {
  path <- file.path(folder, file)
  if (endsWith(file, ".f64")) {
    readBin(path, "double", n = file.size(path) / 8)
  } else {
    readBin(path, "integer", n = file.size(path) / 4)
  }
}
files <- list.files(folder)
data <- lapply(files, read_column)
names(data) <- sub("\\.[^.]*$", "", files)
data <- as.data.frame(data)
for (name in grouping) data[[name]] <- factor(data[[name]])

fit <- function() {
  lmer(as.formula(given[1]), data,
    REML = as.logical(given[2]),
    control = lmerControl(calc.derivs = FALSE)
  )
}
found <- fit()
warm <- "null"
if (repeats > 0) {
  taken <- replicate(repeats, {
    before <- proc.time()
    fit()
    after <- proc.time()
    1e3 * sum((after - before)[1:2])
  })
  warm <- sprintf("%.3f", median(taken))
}
cat(sprintf(
  '{"minus2ll": %.10f, "warm_ms": %s, "versions": {"lme4": "%s", "R": "%s"}}\n',
  -2 * as.numeric(logLik(found)), warm, packageVersion("lme4"), getRversion()
))
