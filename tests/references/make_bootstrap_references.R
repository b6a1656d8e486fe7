# Rscript make_bootstrap_references.R > bootstrap.json, in this folder: parametric bootstraps by lme4,
# their means and SDs; and boot's BCa limits of given draws, estimate and influence values.
suppressMessages({library(lme4); library(boot); library(jsonlite)})

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

accelerated <- function(t, t0, L, conf) {
  limits <- boot:::bca.ci(list(R = length(t)), conf, 1, t0 = t0, t = t, L = L)
  list(t = t, t0 = t0, L = L, level = conf, lower = limits[1, 4], upper = limits[1, 5])
}
bca <- function() {
  set.seed(7)
  list(accelerated(round(rgamma(199, 3), 6), 2.4, round(rexp(25) - 1, 6), 0.95),
       accelerated(round(rnorm(99), 6), -0.4, round(rt(12, 4), 6), 0.9),
       accelerated(round(rexp(499), 6), 0.9, round(rgamma(40, 2) - 2, 6), 0.99))
}

out <- list(
  versions = list(R = as.character(getRversion()), lme4 = as.character(packageVersion("lme4"))),
  bootMer = list(
    boot("sleepstudy", "Reaction ~ Days + (Days | Subject)",
         c("(Intercept)", "Days", "sd_(Intercept)|Subject", "sd_Days|Subject",
           "cor_Days.(Intercept)|Subject", "sigma")),
    boot("Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)",
         c("(Intercept)", "sd_(Intercept)|plate", "sd_(Intercept)|sample", "sigma"))),
  bca = bca())
cat(toJSON(out, auto_unbox = TRUE, digits = 14, pretty = TRUE), "\n")
