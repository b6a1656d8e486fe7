# The workflow of mixedflow, started from the root of the repository: `snakemake --cores 2`.
# The target stands here and not in an included file: an include never sets the default target.

from snakemake.utils import min_version

min_version("9.3")


# A file named with --configfile is the whole configuration and not an addition to this one.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


rule all:
    default_target: True
    input:
        REPORT,


include: "workflow/rules/prepare.smk"
include: "workflow/rules/condense.smk"
include: "workflow/rules/fit.smk"
include: "workflow/rules/infer.smk"
include: "workflow/rules/diagnose.smk"
include: "workflow/rules/sweep.smk"
include: "workflow/rules/scan.smk"
include: "workflow/rules/report.smk"


onsuccess:
    gather_log()


onerror:
    gather_log()
