# Engines as PBS jobs. Belongs, with ipcontroller_config.py, into the profile's folder, which
# `ipython profile create --parallel pbs` makes: ~/.ipython/profile_pbs. The compute nodes must see that folder and the
# Python that VisTrails runs in, at the same place.
c = get_config()  # noqa: F821

c.Cluster.engine_launcher_class = "pbs"

# The engines that are started together share one node; start more, and they get another. {n} is their number. This is
# for OpenPBS and PBS Pro; Torque wants `#PBS -l nodes=1:ppn={n}`. See `man qsub`.
c.PBSEngineSetLauncher.batch_template = """#!/bin/sh
#PBS -N engines
#PBS -q short
#PBS -l select=1:ncpus={n}
#PBS -l walltime=2:00:00
#PBS -V
#PBS -j oe
#PBS -o {output_file}
for engine in $(seq {n}); do
    {program_and_args} &
done
wait
"""
