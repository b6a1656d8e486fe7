# Once per scan: the null model, and every covariate beside it.


rule scan:
    input:
        prepared=prepared_of_scan,
        files=local(scan_files),  # where the configuration says, also under a module's prefix
    output:
        manifest=report(
            f"{RESULTS}/scans/{{scan}}/scan.json",
            caption="../report/scan.rst",
            category="Scans",
            labels={"scan": "{scan}"},
        ),
    log:
        f"{RESULTS}/logs/scan/{{scan}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/scan/{{scan}}.tsv"
    conda:
        "../envs/mixedflow.yaml"
    threads: PLAN.threads
    resources:
        mem_mb=memory_of_scan,
        runtime=minutes_of_scan,
    params:
        prepared=subpath(input.prepared, parent=True),
        options=scan_options,
        dask=dask_options,
        out=subpath(output.manifest, parent=True),
        version=VERSION,
    message:
        "Scanning the covariates of {wildcards.scan}"
    shell:
        "mixedflow --record {log:q} scan {params.prepared:q} {params.options} {params.dask}"
        " --out {params.out:q} > {log:q} 2>&1"
