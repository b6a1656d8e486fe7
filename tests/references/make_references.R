# Make reference figures with R, and check the ones that are there.
#
#   Rscript make_references.R                  fit every entry of lme4.json again: a line of gaps each
#   Rscript make_references.R made_here.json   fit the models that the file names, write their figures
#
# Run in this folder. Made with R 4.2.2, lme4 1.1-31, nlme 3.1-162 (Debian 12: r-cran-lme4,
# r-cran-nlme, r-cran-jsonlite). An entry names its data, the R formula, the order of factor levels,
# columns to compute and rows to blank, so this program has no table of its own.

suppressMessages({library(lme4); library(nlme); library(jsonlite)})
options(digits = 15, warn = -1)

read_data <- function(e) {
  path <- file.path("data", paste0(e$data, ".csv"))
  d <- read.csv(if (file.exists(path)) path else gzfile(paste0(path, ".gz")))
  for (column in names(e$levels))
    d[[column]] <- factor(d[[column]], levels = unlist(e$levels[[column]]),
                          ordered = column %in% unlist(e$ordered))
  for (column in names(e$compute)) d[[column]] <- eval(parse(text = e$compute[[column]]), d)
  for (column in names(e$blank)) d[unlist(e$blank[[column]]), column] <- NA
  d
}

# lmer's own optimum is good to about 1e-4 of a standard error; three Newton steps on the deviance,
# with five-point differences in those theta that are not on their bound, take it to 1e-8.
polished <- function(e, d) {
  d$.w <- if (is.null(e$weights)) rep(1, nrow(d)) else d[[e$weights]]
  m <- suppressMessages(lmer(as.formula(e$r_formula), d, REML = e$method == "REML", weights = .w))
  for (begin in c(2e-3, 1e-4)) {  # two optimisers: near a bound either may stop early by itself
    control <- lmerControl(optimizer = "bobyqa", calc.derivs = FALSE,
                           optCtrl = list(rhobeg = begin, rhoend = 1e-10, maxfun = 1e6))
    m <- suppressMessages(update(m, start = getME(m, "theta"), control = control))
  }
  theta <- getME(m, "theta")
  f <- suppressMessages(update(m, devFunOnly = TRUE))
  inside <- which(getME(m, "lower") < 0 | theta > 1e-4)
  for (i in 1:3) if (length(inside)) {
    g <- gradient(f, theta, inside)
    H <- sapply(inside, function(i) {
      h <- replace(0 * theta, i, steps(theta)[i])
      (gradient(f, theta + h, inside) - gradient(f, theta - h, inside)) / (2 * h[i])
    })
    theta[inside] <- theta[inside] - solve((H + t(H)) / 2, g)
  }
  m <- suppressMessages(update(m, start = theta, control = lmerControl(optimizer = NULL)))
  attr(m, "gradient") <- max(0, abs(gradient(f, theta, inside)))
  m
}

steps <- function(theta) 5e-3 * pmax(abs(theta), 0.01)

gradient <- function(f, theta, inside) vapply(inside, FUN.VALUE = 0, FUN = function(i) {
  h <- steps(theta)[i]
  at <- function(k) f(theta + replace(0 * theta, i, k * h))
  (at(-2) - 8 * at(-1) + 8 * at(1) - at(2)) / (12 * h)
})

by_group <- function(m) {
  vc <- VarCorr(m)
  lapply(seq_along(vc), function(i) {
    list(group = names(vc)[i], terms = as.list(rownames(vc[[i]])), cov = unname(matrix(vc[[i]], nrow(vc[[i]]))))
  })
}

blups <- function(m, keep = 12) {  # conditional variances: their diagonals, a row a level
  re <- ranef(m, condVar = TRUE)
  lapply(names(re), function(group) {
    b <- re[[group]]
    first <- seq_len(min(keep, nrow(b)))
    pv <- attr(b, "postVar")
    if (!is.list(pv)) pv <- list(pv)
    variances <- do.call(rbind, lapply(pv, function(a) apply(a, 3, function(x) diag(as.matrix(x)))))
    list(group = group, nlevels = nrow(b), terms = as.list(colnames(b)),
         levels = as.list(rownames(b)[first]), blup = unname(as.matrix(b)[first, , drop = FALSE]),
         condvar = unname(t(variances)[first, , drop = FALSE]))
  })
}

figures <- function(e) {
  m <- polished(e, read_data(e))
  se <- sqrt(diag(as.matrix(vcov(m))))
  told <- e[intersect(names(e), c("id", "data", "method", "r_formula", "formula", "levels", "ordered",
                                  "compute", "blank", "weights", "rename"))]
  c(told, list(
    engine = paste("lme4", packageVersion("lme4")), nobs = nobs(m), ngrps = as.list(ngrps(m)),
    npar = attr(logLik(m), "df"), sigma = sigma(m), logLik = as.numeric(logLik(m)), AIC = AIC(m),
    BIC = BIC(m), singular = isSingular(m), max_abs_grad = attr(m, "gradient"), polished = TRUE,
    fixed = lapply(seq_along(se), function(i)
      list(name = names(fixef(m))[i], est = unname(fixef(m)[i]), se = unname(se[i]))),
    vcov = unname(as.matrix(vcov(m))), varcomp = by_group(m), ranef = blups(m)))
}

# -- the entries that came from elsewhere, once more -------------------------------------

refit <- function(e) {
  d <- read_data(e)
  if (is.null(e$nlme_call)) {
    m <- polished(e, d)
    return(list(fixef = fixef(m), se = sqrt(diag(as.matrix(vcov(m)))), sigma = sigma(m), ll = logLik(m)))
  }
  for (column in intersect(c("Subject", "Mare", "Block", "Variety", "sample", "dilut"), names(d)))
    d[[column]] <- factor(d[[column]])
  ctl <- lmeControl(maxIter = 500, msMaxIter = 500, niterEM = 100, tolerance = 1e-10, msTol = 1e-12)
  m <- eval(parse(text = e$nlme_call))
  list(fixef = fixef(m), se = sqrt(diag(m$varFix)), sigma = m$sigma, ll = logLik(m))
}

gap <- function(fresh, kept) max(abs(fresh - kept) / abs(kept))

compare <- function(e) {
  m <- refit(e)
  cat(sprintf("%-28s logLik %9.2e  est %8.1e  se %8.1e  sigma %8.1e\n", e$id,
              if (is.null(e$logLik)) NA else m$ll - e$logLik,
              gap(unname(m$fixef), sapply(e$fixed, `[[`, "est")),
              gap(unname(m$se), sapply(e$fixed, `[[`, "se")), gap(m$sigma, e$sigma)))
}

asked <- commandArgs(TRUE)
if (length(asked)) {
  rows <- sapply(fromJSON(asked[1], simplifyVector = FALSE), function(e)
    toJSON(figures(e), digits = I(15), auto_unbox = TRUE))
  cat("[\n", paste0(" ", rows, collapse = ",\n"), "\n]\n", sep = "", file = asked[1])
} else for (e in fromJSON("lme4.json", simplifyVector = FALSE)) compare(e)
