# Once: the page with all models and their comparisons.


rule report:
    input:
        fits=expand(
            f"{RESULTS}/models/{{model}}/fit/fit.json", model=PLAN.config.models
        ),
        diagnostics=expand(
            f"{RESULTS}/models/{{model}}/diagnostics/summary.json",
            model=PLAN.diagnosed,
        ),
        inferences=expand(
            f"{RESULTS}/models/{{model}}/inference/infer.json",
            model=PLAN.inferred,
        ),
        sweeps=expand(f"{RESULTS}/sweeps/{{sweep}}/sweep.json", sweep=PLAN.config.sweep),
        scans=expand(f"{RESULTS}/scans/{{scan}}/scan.json", scan=PLAN.config.scan),
    output:
        page=report(REPORT, caption="../report/report.rst", category="Report"),
        sweeps=report(SWEEP_PAGES, caption="../report/sweep.rst", category="Report"),
        scans=report(SCAN_PAGES, caption="../report/scan.rst", category="Report"),
    log:
        f"{RESULTS}/logs/report/report.log",
    benchmark:
        f"{RESULTS}/benchmarks/report/report.tsv"
    conda:
        "../envs/mixedflow.yaml"
    threads: 1
    resources:
        mem_mb=memory_of_report,
        runtime=minutes_of_report,
    params:
        models=model_folders,
        sweeps=sweep_folders,
        scans=scan_folders,
        config=config_text(PLAN.config),
        results=subpath(output.page, parent=True),
        version=VERSION,
    message:
        "Writing the report {output.page}"
    shell:
        "printf %s {params.config:q} | mixedflow --record {log:q} report {params.models:q} {params.sweeps:q}"
        " {params.scans:q}"
        " --results {params.results:q} --config - --out {output.page:q} > {log:q} 2>&1"
