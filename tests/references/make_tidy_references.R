# broom.mixed's tables of two fits: Rscript make_tidy_references.R > tidy.json
# Run in this folder. broom.mixed 0.2.9.4, lmerTest 3.1-3.
suppressPackageStartupMessages({library(lmerTest); library(broom.mixed); library(jsonlite)})
read <- function(name) read.csv(file.path("data", paste0(name, ".csv")), stringsAsFactors = TRUE)
tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10))
entry <- function(data, formula, REML) {
  rows <- read(data)
  if (data == "sleepstudy") rows$Subject <- factor(rows$Subject)
  model <- suppressWarnings(lmer(formula, rows, REML = REML, control = tight))
  list(data = data, formula = deparse1(formula), reml = REML,
       tidy = as.data.frame(tidy(model, conf.int = TRUE)),
       ran_vals = head(as.data.frame(tidy(model, effects = "ran_vals")), 5),
       glance = as.data.frame(glance(model)),
       augment = head(as.data.frame(suppressWarnings(augment(model)))[, c(".fitted", ".resid", ".fixed")], 5))
}
cat(toJSON(list(
  entry("sleepstudy", Reaction ~ Days + (Days | Subject), TRUE),
  entry("factors_unb", y ~ a + x + (1 | g), FALSE)
), digits = NA, auto_unbox = TRUE, na = "null", pretty = 1), "\n")
