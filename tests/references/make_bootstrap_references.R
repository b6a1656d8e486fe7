# Rscript make_bootstrap_references.R > bootstrap.json, in this folder: parametric bootstraps by lme4,
# their means and SDs.
suppressMessages({library(lme4); library(jsonlite)})

boot <- function(data, formula, names, nsim = 4000) {
  d <- read.csv(paste0("data/", data, ".csv"))
  for (f in intersect(c("Subject", "plate", "sample"), colnames(d))) d[[f]] <- factor(d[[f]])
  fit <- lmer(as.formula(formula), d)
  numbers <- function(m) {
    v <- as.data.frame(VarCorr(m), order = "lower.tri")
    sds <- v$sdcor[is.na(v$var2) & v$grp != "Residual"]
    c(fixef(m), sds, v$sdcor[!is.na(v$var2)], sigma(m))
  }
  b <- bootMer(fit, numbers, nsim = nsim, seed = 1)
  list(data = data, formula = formula, nsim = nsim, names = names,
       mean = unname(colMeans(b$t, na.rm = TRUE)), sd = unname(apply(b$t, 2, sd, na.rm = TRUE)))
}

out <- list(
  versions = list(R = as.character(getRversion()), lme4 = as.character(packageVersion("lme4"))),
  bootMer = list(
    boot("sleepstudy", "Reaction ~ Days + (Days | Subject)",
         c("(Intercept)", "Days", "sd_(Intercept)|Subject", "sd_Days|Subject",
           "cor_Days.(Intercept)|Subject", "sigma")),
    boot("Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)",
         c("(Intercept)", "sd_(Intercept)|plate", "sd_(Intercept)|sample", "sigma"))))
cat(toJSON(out, auto_unbox = TRUE, digits = 14, pretty = TRUE), "\n")
