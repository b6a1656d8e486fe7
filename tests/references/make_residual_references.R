# Make reference figures of models with a residual structure: by nlme, and by an own likelihood.
#
#   Rscript make_residual_references.R made_residual.json   figures of the models that the file names
#   Rscript make_residual_references.R                      a line of gaps an entry of residual.json
#
# Run in this folder. Made with R 4.2.2, nlme 3.1-162. An entry with "nlme_call" is fitted by it. All
# others are fitted here, from the textbook, sharing no code with nlme, mmrm or mixedflow: groups are
# independent, V_g = Z_g G Z_g' + W_g^-1/2 D_s C D_s W_g^-1/2, G = L L'. Their optimum is polished by
# Newton steps. The model of an entry for this program stands in "model": fixed (R formula of the
# fixed effects), random (R formula of Z, or absent), structure (C), position (column, or absent for
# the order of the rows), group, stratum (absent for none; every stratum then has its own C and D).

suppressMessages({library(nlme); library(jsonlite)})
options(digits = 15, warn = -1)

read_data <- function(e) {
  path <- file.path("data", paste0(e$data, ".csv"))
  d <- read.csv(if (file.exists(path)) path else gzfile(paste0(path, ".gz")))
  for (column in names(e$levels)) d[[column]] <- factor(d[[column]], levels = unlist(e$levels[[column]]))
  for (column in names(e$compute)) d[[column]] <- eval(parse(text = e$compute[[column]]), d)
  d
}

# -- correlation matrices over m positions, from unconstrained numbers ---------------------

inverse_partial <- function(z) {  # correlations from angles: any z gives a correlation matrix
  m <- (1 + sqrt(1 + 8 * length(z))) / 2
  L <- diag(m)
  L[lower.tri(L)] <- z
  L <- L / sqrt(rowSums(L^2))
  tcrossprod(L)
}

lags <- function(m) abs(outer(seq_len(m), seq_len(m), "-"))

structures <- list(
  iid = list(n = function(m) 0, C = function(z, m) diag(m)),
  us = list(n = function(m) m * (m - 1) / 2, C = function(z, m) inverse_partial(z)),
  cs = list(n = function(m) 1, C = function(z, m) diag(m) + tanh(z) * (1 - diag(m))),
  ar1 = list(n = function(m) 1, C = function(z, m) tanh(z)^lags(m)),
  ad = list(n = function(m) m - 1, C = function(z, m) {
    C <- diag(m)
    for (i in seq_len(m - 1)) for (j in (i + 1):m) C[i, j] <- C[j, i] <- prod(tanh(z[i:(j - 1)]))
    C
  }),
  toep = list(n = function(m) m - 1, C = function(z, m) matrix(c(1, tanh(z))[lags(m) + 1], m)))

# -- the likelihood ---------------------------------------------------------------------

prepared <- function(e) {
  d <- read_data(e)
  model <- e$model
  used <- unique(c(all.vars(as.formula(model$fixed)), model$group, model$position, model$stratum,
                   if (!is.null(model$random)) all.vars(as.formula(model$random)), e$weights))
  d <- d[complete.cases(d[used]), ]
  frame <- model.frame(as.formula(model$fixed), d)
  position <- if (is.null(model$position)) {
    ave(seq_len(nrow(d)), d[[model$group]], FUN = seq_along)
  } else if (is.numeric(d[[model$position]]) && model$structure == "ar1") {
    d[[model$position]] - min(d[[model$position]]) + 1
  } else as.integer(factor(d[[model$position]]))
  w <- if (is.null(e$weights)) rep(1, nrow(d)) else d[[e$weights]]
  X <- model.matrix(as.formula(model$fixed), frame)
  y <- model.response(frame)
  Z <- if (is.null(model$random)) matrix(0, nrow(d), 0) else model.matrix(as.formula(model$random), d)
  stratum <- if (is.null(model$stratum)) factor(rep("", nrow(d))) else factor(d[[model$stratum]])
  p <- list(n = length(y), X = X, y = y, Z = Z, log_w = sum(log(w)), m = max(position), stratum = stratum,
            structure = structures[[model$structure]], spread = isTRUE(model$heterogeneous),
            reml = e$method == "REML")
  rows <- split(seq_len(nrow(d)), d[[model$group]])
  rows <- lapply(rows, function(i) i[order(position[i])])
  alike <- if (ncol(Z)) names(rows) else  # groups with one V between them
    vapply(rows, function(i) paste(stratum[i[1]], paste(position[i], collapse = ",")), "")
  p$units <- lapply(split(rows, alike), function(groups) {
    first <- groups[[1]]
    A <- vapply(groups, function(i) sqrt(w[i]) * cbind(X, y)[i, , drop = FALSE], cbind(X, y)[first, , drop = FALSE])
    list(at = position[first], stratum = as.integer(stratum[first[1]]), groups = length(groups),
         Z = sqrt(w[first]) * Z[first, , drop = FALSE],
         A = matrix(aperm(array(A, c(length(first), ncol(X) + 1, length(groups))), c(1, 3, 2)), length(first)))
  })
  p
}

layout <- function(p) {  # how many parameters: L of G; then, a stratum, log sds and correlations
  q <- ncol(p$Z)
  list(q = q, L = q * (q + 1) / 2, sds = if (p$spread) p$m else 1, z = p$structure$n(p$m),
       strata = nlevels(p$stratum))
}

matrices <- function(par, p) {
  k <- layout(p)
  L <- matrix(0, k$q, k$q)
  L[lower.tri(L, TRUE)] <- par[seq_len(k$L)]
  each <- k$sds + k$z
  R <- lapply(seq_len(k$strata), function(s) {
    own <- par[k$L + (s - 1) * each + seq_len(each)]
    sd <- exp(if (p$spread) own[seq_len(p$m)] else rep(own[1], p$m))
    outer(sd, sd) * p$structure$C(own[k$sds + seq_len(k$z)], p$m)
  })
  list(L = L, G = tcrossprod(L), R = R)
}

solved <- function(par, p) {
  M <- matrices(par, p)
  A <- matrix(0, ncol(p$X) + 1, ncol(p$X) + 1)
  logdet <- 0
  for (u in p$units) {
    U <- chol(M$R[[u$stratum]][u$at, u$at, drop = FALSE] + u$Z %*% M$G %*% t(u$Z))
    B <- matrix(backsolve(U, u$A, transpose = TRUE), ncol = ncol(p$X) + 1)
    A <- A + crossprod(B)
    logdet <- logdet + 2 * u$groups * sum(log(diag(U)))
  }
  f <- seq_len(ncol(p$X))
  beta <- solve(A[f, f], A[f, -f])
  quadratic <- A[-f, -f] - sum(beta * A[f, -f])
  n <- p$n - if (p$reml) ncol(p$X) else 0
  log_X <- if (p$reml) as.numeric(determinant(A[f, f])$modulus) else 0
  list(minus2ll = n * log(2 * pi) + logdet - p$log_w + quadratic + log_X, beta = beta, vcov = solve(A[f, f]), M = M)
}

deviance_at <- function(par, p) tryCatch(solved(par, p)$minus2ll, error = function(e) 1e10)

# -- the optimum ------------------------------------------------------------------------

start <- function(p) {
  k <- layout(p)
  s <- log(sd(lm.fit(p$X, p$y)$residuals))
  L <- diag(k$q) * exp(s) / 2 / pmax(1e-6, sqrt(colMeans(p$Z^2)))
  c(L[lower.tri(L, TRUE)], rep(c(rep(s, k$sds), rep(0.3, k$z)), k$strata))
}

steps <- function(par) 2e-3 * pmax(abs(par), 0.05)

slope <- function(par, i, p) {
  h <- steps(par)[i]
  at <- function(k) deviance_at(par + replace(0 * par, i, k * h), p)
  (at(-2) - 8 * at(-1) + 8 * at(1) - at(2)) / (12 * h)
}

gradient <- function(par, p) vapply(seq_along(par), function(i) slope(par, i, p), 0)

best <- function(p) {
  par <- start(p)
  f <- function(par) deviance_at(par, p)
  for (round in 1:2) {
    par <- nlminb(par, f, control = list(eval.max = 5000, iter.max = 500, rel.tol = 1e-14))$par
    par <- optim(par, f, method = "BFGS", control = list(maxit = 500, reltol = 1e-15))$par
  }
  for (i in 1:4) {
    H <- sapply(seq_along(par), function(i) {
      h <- replace(0 * par, i, steps(par)[i])
      (gradient(par + h, p) - gradient(par - h, p)) / (2 * steps(par)[i])
    })
    own <- eigen((H + t(H)) / 2)  # a singular G leaves a direction without curvature: not moved in
    keep <- own$values > 1e-6 * max(own$values)
    U <- own$vectors[, keep, drop = FALSE]
    move <- as.vector(U %*% (crossprod(U, gradient(par, p)) / own$values[keep]))
    if (deviance_at(par - move, p) <= deviance_at(par, p) + 1e-9) par <- par - move
  }
  list(par = par, gradient = max(abs(gradient(par, p))))
}

named_fixed <- function(est, vcov) lapply(seq_along(est), function(i)
  list(name = rownames(vcov)[i], est = unname(est[i]), se = sqrt(vcov[i, i])))

polished <- function(e) {
  p <- prepared(e)
  found <- best(p)
  s <- solved(found$par, p)
  dimnames(s$vcov) <- list(colnames(p$X), colnames(p$X))
  out <- list(engine = "own likelihood, R 4.2.2", nobs = p$n, npar = ncol(p$X) + length(found$par),
              logLik = -s$minus2ll / 2, max_abs_grad = found$gradient, fixed = named_fixed(s$beta, s$vcov),
              vcov = unname(s$vcov))
  if (ncol(p$Z)) out$varcomp <- list(list(group = e$model$group, terms = as.list(colnames(p$Z)), cov = s$M$G))
  covariances <- if (e$model$structure == "iid") lapply(s$M$R, function(R) R[1, 1, drop = FALSE]) else s$M$R
  if (nlevels(p$stratum) == 1) c(out, list(residual_cov = covariances[[1]]))
  else c(out, list(residual_cov_by = setNames(covariances, levels(p$stratum))))
}

# -- nlme -------------------------------------------------------------------------------

ctl <- lmeControl(maxIter = 500, msMaxIter = 500, niterEM = 100, tolerance = 1e-10, msTol = 1e-12,
                  returnObject = TRUE)  # near a singular G it stops without having converged
gctl <- glsControl(maxIter = 500, msMaxIter = 500, tolerance = 1e-10, msTol = 1e-12)

by_nlme <- function(e) {
  d <- read_data(e)
  m <- eval(parse(text = e$nlme_call))
  n <- nobs(m)
  V <- if (inherits(m, "lme")) m$varFix else vcov(m)
  if (inherits(m, "gls") && m$method == "ML") V <- V * (n - nrow(V)) / n  # gls blows it up
  est <- if (inherits(m, "lme")) fixef(m) else coef(m)
  out <- list(engine = paste("nlme", packageVersion("nlme")), nobs = n, npar = attr(logLik(m), "df"),
              sigma = m$sigma, logLik = as.numeric(logLik(m)), fixed = named_fixed(est, V), vcov = unname(V))
  if (inherits(m, "lme")) {
    G <- as.matrix(m$modelStruct$reStruct[[1]]) * m$sigma^2
    out$varcomp <- list(list(group = names(m$groups), terms = as.list(rownames(G)), cov = unname(G)))
  }
  ratios <- if (!is.null(m$modelStruct$varStruct))
    coef(m$modelStruct$varStruct, unconstrained = FALSE, allCoef = TRUE)
  C <- m$modelStruct$corStruct
  natural <- if (!is.null(C)) unname(coef(C, unconstrained = FALSE))
  if (isTRUE(e$by_position)) {  # a variance a position: the whole covariance
    sds <- unname(m$sigma * ratios[order(names(ratios))])
    R <- diag(length(sds))
    R[lower.tri(R)] <- natural
    R[upper.tri(R)] <- t(R)[upper.tri(R)]
    return(c(out, list(residual_cov = outer(sds, sds) * R)))
  }
  if (!is.null(ratios)) out$residual_sd <- as.list(m$sigma * ratios)
  if (inherits(C, "corExp")) out$range <- natural else if (!is.null(C)) out$rho <- natural
  out
}

figures <- function(e) {
  told <- e[intersect(names(e), c("id", "data", "method", "formula", "residual", "levels", "compute",
                                  "weights", "model", "nlme_call", "by_position"))]
  message(e$id)
  c(told, if (is.null(e$nlme_call)) polished(e) else by_nlme(e))
}

asked <- commandArgs(TRUE)
if (length(asked)) {
  rows <- sapply(fromJSON(asked[1], simplifyVector = FALSE), function(e)
    toJSON(figures(e), digits = I(15), auto_unbox = TRUE))
  cat("[\n", paste0(" ", rows, collapse = ",\n"), "\n]\n", sep = "", file = asked[1])
} else for (e in fromJSON("residual.json", simplifyVector = FALSE)) if (!is.null(e$nlme_call)) {
  fresh <- by_nlme(e)
  cat(sprintf("%-34s logLik %9.2e  est %8.1e\n", e$id, fresh$logLik - e$logLik,
              max(abs(sapply(fresh$fixed, `[[`, "est") - sapply(e$fixed, `[[`, "est")) /
                    abs(sapply(e$fixed, `[[`, "est")))))
}
