# Once per data set: read the files, write Parquet partitions.


rule prepare:
    input:
        data=local(data_files),  # where the configuration says, also under a module's prefix
    output:
        manifest=f"{RESULTS}/{{dataset}}/prepared/manifest.json",
    log:
        f"{RESULTS}/logs/prepare/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/prepare/{{dataset}}.tsv"
    conda:
        "../envs/mixedflow.yaml"
    threads: PLAN.threads
    resources:
        mem_mb=memory_of_pass,
        runtime=minutes_of_pass,
    params:
        path=data_path,
        options=prepare_options,
        dask=prepare_place,
        out=subpath(output.manifest, parent=True),
        version=VERSION,
    message:
        "Preparing the data set {wildcards.dataset}"
    shell:
        "mixedflow --record {log:q} prepare {params.path:q} {params.options} {params.dask}"
        " --out {params.out:q} > {log:q} 2>&1"
