"""Where the Slurm tests cannot run they say so in one line, soon, and nothing fails."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

INSTALL = Path(__file__).parents[1] / "slurm/install.sh"
TOOLS = ("slurmctld", "slurmd", "srun", "munged")
SYSTEM = ("bash", "timeout", "readlink", "sleep")


class Machine:
    """Commands that are there, and what they do."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.place = folder / "bin", folder / "slurm.conf"
        self.bin.mkdir()
        for name in SYSTEM:
            found = subprocess.run(["which", name], capture_output=True, text=True, check=True)
            (self.bin / name).symlink_to(found.stdout.strip())
        self.has("id", "echo 0")

    def has(self, name: str, does: str = ":") -> None:
        (self.bin / name).write_text(f"#!{self.bin}/bash\n{does}\n")
        (self.bin / name).chmod(0o755)

    def install(self) -> tuple[int, str]:
        done = subprocess.run(
            [str(self.bin / "bash"), str(INSTALL)],
            env={"PATH": str(self.bin), "SLURM_DEFAULT_PLACE": str(self.place)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stderr == ""
        return done.returncode, done.stdout


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_what_is_there_is_not_installed(machine):
    for name in TOOLS:
        machine.has(name)
    machine.has("apt-get", "exit 1")
    assert machine.install() == (0, "")


def test_what_is_missing_is_installed(machine):
    made = "".join(f"printf '#!/bin/sh\\n' > {machine.bin}/{name};" for name in TOOLS)
    modes = "".join(
        f"[ -x {machine.bin}/{name} ] || chmod +x {machine.bin}/{name};" for name in TOOLS
    )
    machine.has("chmod", 'exec /bin/chmod "$@"')
    machine.has("apt-get", f"case $* in *update*) ;; *slurmctld*) {made} {modes} ;; esac")
    code, said = machine.install()
    assert code == 0
    assert said == "installing slurmctld slurmd slurm-client munge\n"


def without_network(machine):
    machine.has("apt-get", "exit 100")


def stranger(machine):
    machine.has("id", "echo 1000")


def own_slurm(machine):
    for name in TOOLS:
        machine.has(name)
    machine.place.write_text("ClusterName=theirs\n")


@pytest.mark.parametrize(
    ("arrange", "why"),
    [
        (lambda machine: None, "there is no apt-get"),
        (without_network, "the packages slurmctld slurmd slurm-client munge cannot be had"),
        (lambda machine: machine.has("apt-get"), "the packages were installed and have no"),
        (stranger, "which only root can"),
        (own_slurm, "this machine has a Slurm of its own"),
    ],
)
def test_otherwise_a_line_says_why(machine, arrange, why):
    arrange(machine)
    code, said = machine.install()
    assert code == 77
    assert said.splitlines()[-1].startswith("no Slurm tests: ")
    assert why in said.splitlines()[-1]


def test_the_file_of_a_run_that_was_killed_is_no_hindrance(machine, tmp_path):
    for name in TOOLS:
        machine.has(name)
    machine.place.symlink_to(tmp_path / "mixedflow-slurm/slurm/slurm.conf")
    assert machine.install() == (0, "")
