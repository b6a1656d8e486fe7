# Fit every entry of lme4.json again with lme4 or nlme and say how far the figures are apart.
#
#   Rscript make_references.R            compare all entries, a line each
#   Rscript make_references.R ID [...]   print the fresh figures of these entries as JSON
#
# Run in this folder. The figures were made with R 4.2.2, lme4 1.1-31 and nlme 3.1-162 (Debian 12:
# r-cran-lme4, r-cran-nlme, r-cran-jsonlite). Each entry of lme4.json names its data, the R formula,
# the order of factor levels, weights and rows to blank, so this program has no table of its own.

suppressMessages({library(lme4); library(nlme); library(jsonlite)})
options(digits = 15)

read_data <- function(e) {
  path <- file.path("data", paste0(e$data, ".csv"))
  d <- read.csv(if (file.exists(path)) path else gzfile(paste0(path, ".gz")))
  for (column in names(e$levels)) d[[column]] <- factor(d[[column]], levels = unlist(e$levels[[column]]))
  for (column in names(e$compute)) d[[column]] <- eval(parse(text = e$compute[[column]]), d)
  for (column in names(e$blank)) d[unlist(e$blank[[column]]), column] <- NA
  d
}

fit_lme4 <- function(e, d) {
  d$.w <- if (is.null(e$weights)) rep(1, nrow(d)) else d[[e$weights]]
  control <- lmerControl(optimizer = "bobyqa", calc.derivs = FALSE,
                         optCtrl = list(rhobeg = 2e-3, rhoend = 1e-10, maxfun = 1e6))
  m <- suppressMessages(lmer(as.formula(e$r_formula), d, REML = e$method == "REML", weights = .w))
  for (i in 1:3) m <- update(m, start = getME(m, "theta"), control = control)  # polish
  re <- ranef(m, condVar = TRUE)
  list(fixef = fixef(m), se = sqrt(diag(as.matrix(vcov(m)))), vcov = as.matrix(vcov(m)),
       varcorr = as.data.frame(VarCorr(m)), sigma = sigma(m), logLik = as.numeric(logLik(m)),
       AIC = AIC(m), BIC = BIC(m), nobs = nobs(m), singular = isSingular(m), ranef = re,
       condvar = lapply(re, attr, "postVar"))
}

fit_nlme <- function(e, d) {
  for (column in intersect(c("Subject", "Mare", "Block", "Variety", "sample", "dilut"), names(d)))
    d[[column]] <- factor(d[[column]])
  ctl <- lmeControl(maxIter = 500, msMaxIter = 500, niterEM = 100, tolerance = 1e-10,
                    msTol = 1e-12, opt = "nlminb")
  m <- eval(parse(text = e$nlme_call))
  list(fixef = fixef(m), se = sqrt(diag(m$varFix)), vcov = m$varFix, varcorr = VarCorr(m),
       sigma = m$sigma, logLik = as.numeric(logLik(m)), AIC = AIC(m), BIC = BIC(m),
       nobs = nrow(d), ranef = ranef(m))
}

refit <- function(e) {
  d <- read_data(e)
  if (is.null(e$nlme_call)) fit_lme4(e, d) else fit_nlme(e, d)
}

gap <- function(fresh, kept) max(abs(fresh - kept) / abs(kept))

entries <- fromJSON("lme4.json", simplifyVector = FALSE)
names(entries) <- sapply(entries, `[[`, "id")
asked <- commandArgs(TRUE)
if (length(asked)) {
  for (id in asked)
    cat(toJSON(refit(entries[[id]]), digits = 15, auto_unbox = TRUE, pretty = TRUE, force = TRUE), "\n")
} else for (e in entries) {
  m <- refit(e)
  est <- sapply(e$fixed, `[[`, "est"); se <- sapply(e$fixed, `[[`, "se")
  cat(sprintf("%-28s logLik %9.2e  est %8.1e  se %8.1e  sigma %8.1e\n", e$id,
              if (is.null(e$logLik)) NA else m$logLik - e$logLik,
              gap(unname(m$fixef), est), gap(unname(m$se), se), gap(m$sigma, e$sigma)))
}
