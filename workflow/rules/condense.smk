# Once per design: the one pass over the rows that all models of the design share.


rule condense:
    input:
        prepared=f"{RESULTS}/{{dataset}}/prepared/manifest.json",
    output:
        manifest=f"{RESULTS}/{{dataset}}/designs/{{design}}/manifest.json",
    log:
        f"{RESULTS}/logs/condense/{{dataset}}.{{design}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/condense/{{dataset}}.{{design}}.tsv"
    conda:
        "../envs/mixedflow.yaml"
    threads: PLAN.threads
    resources:
        mem_mb=memory_of_pass,
        runtime=minutes_of_pass,
    params:
        prepared=subpath(input.prepared, parent=True),
        formula=condense_formula,
        options=condense_options,
        dask=dask_options,
        out=subpath(output.manifest, parent=True),
        version=VERSION,
    message:
        "Condensing {wildcards.dataset} for the design {wildcards.design}"
    shell:
        "mixedflow --record {log:q} condense {params.prepared:q} {params.formula} {params.options} {params.dask}"
        " --out {params.out:q} > {log:q} 2>&1"
