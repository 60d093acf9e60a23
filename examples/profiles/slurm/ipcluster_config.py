# Engines as Slurm jobs. Belongs, with ipcontroller_config.py, into the profile's folder, which
# `ipython profile create --parallel slurm` makes: ~/.ipython/profile_slurm. The compute nodes must see that folder and
# the Python that VisTrails runs in, at the same place.
c = get_config()  # noqa: F821

c.Cluster.engine_launcher_class = "slurm"

# The partition and the time limit; engines end with their job.
c.SlurmEngineSetLauncher.queue = "short"
c.SlurmEngineSetLauncher.timelimit = "2:00:00"
# c.SlurmEngineSetLauncher.account = "geology"

# For anything else, a template of your own; {n} is the number of engines. See `man sbatch`.
# c.SlurmEngineSetLauncher.batch_template = """#!/bin/sh
# #SBATCH --partition=short --time=2:00:00
# #SBATCH --ntasks={n} --cpus-per-task=1 --mem-per-cpu=4G
# #SBATCH --output={output_file}
# srun {program_and_args}
# """
