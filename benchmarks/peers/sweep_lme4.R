# lme4 on many responses: one fit and refit() for each, or lmer() for each with a tight optimizer.
# Arguments: right side of the formula, folder of columns (with y.f64, all responses one after the
# other), grouping columns, names of the responses, refit or lmer, file for -2 log L.
suppressPackageStartupMessages(library(lme4))

given <- commandArgs(trailingOnly = TRUE)
folder <- given[2]
traits <- readLines(given[4])

read_column <- function(file) {
  path <- file.path(folder, file)
  if (endsWith(file, ".f64")) {
    readBin(path, "double", n = file.size(path) / 8)
  } else {
    readBin(path, "integer", n = file.size(path) / 4)
  }
}
files <- setdiff(list.files(folder, pattern = "[.](f64|i32)$"), "y.f64")
data <- lapply(files, read_column)
names(data) <- sub("\\.[^.]*$", "", files)
data <- as.data.frame(data)
for (name in strsplit(given[3], ",", fixed = TRUE)[[1]]) data[[name]] <- factor(data[[name]])
Y <- matrix(read_column("y.f64"), nrow(data))[, seq_along(traits), drop = FALSE]

data$y <- Y[, 1]
formula <- as.formula(paste("y", given[1]))
quick <- lmerControl(calc.derivs = FALSE)
tight <- lmerControl(
  calc.derivs = FALSE,
  optCtrl = list(xtol_abs = 1e-12, ftol_abs = 1e-12, xtol_rel = 0, ftol_rel = 0, maxeval = 10000)
)
if (given[5] == "refit") {
  first <- lmer(formula, data, control = quick)
  found <- apply(Y, 2, function(y) -2 * as.numeric(logLik(refit(first, y))))
} else {
  found <- apply(Y, 2, function(y) {
    data$y <- y
    -2 * as.numeric(logLik(suppressMessages(suppressWarnings(lmer(formula, data, control = tight)))))
  })
}
writeLines(sprintf('{%s}', paste0(sprintf('"%s": %.10f', traits, found), collapse = ", ")), given[6])
cat(sprintf(
  '{"count": %d, "versions": {"lme4": "%s", "R": "%s"}}\n',
  length(traits), packageVersion("lme4"), getRversion()
))
