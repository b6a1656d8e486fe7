# Once per sweep: what is left to fit, a job for each lot of traits, one table. A job keeps its traits in
# `parts/`, by their content, and leaves a note: the plan's date says nothing about them (`ancient`).


checkpoint sweep_plan:
    input:
        prepared=prepared_of_sweep,
        files=local(sweep_files),  # where the configuration says, also under a module's prefix
    output:
        plan=f"{RESULTS}/sweeps/{{sweep}}/plan.json",
    log:
        f"{RESULTS}/logs/sweep_plan/{{sweep}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/sweep_plan/{{sweep}}.tsv"
    conda:
        "../envs/mixedflow.yaml"
    threads: PLAN.threads
    resources:
        mem_mb=memory_of_sweep,
        runtime=minutes_of_sweep,
    params:
        prepared=subpath(input.prepared, parent=True),
        options=sweep_options,
        dask=dask_options,
        out=subpath(output.plan, parent=True),
        version=VERSION,
    message:
        "Planning the sweep {wildcards.sweep}"
    shell:
        "mixedflow --record {log:q} sweep plan {params.prepared:q} {params.options} {params.dask}"
        " --out {params.out:q} > {log:q} 2>&1"


rule sweep_run:
    input:
        plan=ancient(f"{RESULTS}/sweeps/{{sweep}}/plan.json"),
    output:
        note=f"{RESULTS}/sweeps/{{sweep}}/jobs/{{job}}.json",
    log:
        f"{RESULTS}/logs/sweep_run/{{sweep}}.{{job}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/sweep_run/{{sweep}}.{{job}}.tsv"
    conda:
        "../envs/mixedflow.yaml"
    threads: PLAN.threads
    resources:
        mem_mb=memory_of_sweep,
        runtime=minutes_of_sweep,
    params:
        folder=subpath(input.plan, parent=True),
        dask=dask_options,
    message:
        "Fitting the job {wildcards.job} of the sweep {wildcards.sweep}"
    shell:
        "mixedflow --record {log:q} sweep run {params.folder:q} {wildcards.job} {params.dask} > {log:q} 2>&1"


rule sweep_gather:
    input:
        plan=f"{RESULTS}/sweeps/{{sweep}}/plan.json",
        notes=sweep_notes,
    output:
        manifest=report(
            f"{RESULTS}/sweeps/{{sweep}}/sweep.json",
            caption="../report/sweep.rst",
            category="Sweeps",
            labels={"sweep": "{sweep}"},
        ),
    log:
        f"{RESULTS}/logs/sweep_gather/{{sweep}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/sweep_gather/{{sweep}}.tsv"
    conda:
        "../envs/mixedflow.yaml"
    threads: PLAN.threads
    resources:
        mem_mb=memory_of_sweep,
        runtime=minutes_of_sweep,
    params:
        folder=subpath(output.manifest, parent=True),
        dask=dask_options,
        version=VERSION,
    message:
        "Gathering the sweep {wildcards.sweep}"
    shell:
        "mixedflow --record {log:q} sweep gather {params.folder:q} {params.dask} > {log:q} 2>&1"
