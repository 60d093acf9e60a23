#!/bin/bash
# slurm.sh CONTROLLER NODE   run on each machine: munged, slurmctld on the CONTROLLER, slurmd on the nodes. NODE is this machine's
# name, or nothing if it runs no jobs. The key and slurm.conf lie in $FOLDER.
set -eu
controller=$1
node=${2:-}
rm -f /etc/munge/munge.key
cp "$FOLDER/munge.key" /etc/munge/munge.key
chown -R munge: /etc/munge
chmod 400 /etc/munge/munge.key
mkdir -p /run/munge /etc/slurm
chown munge: /run/munge
setpriv --reuid=munge --regid=munge --clear-groups munged --key-file=/etc/munge/munge.key --socket=/run/munge/munge.socket.2 \
    --pid-file=/run/munge/munged.pid --seed-file=/run/munge/seed --log-file=/run/munge/log
cp "$FOLDER/slurm.conf" /etc/slurm/slurm.conf
rm -f /etc/slurm/plugstack.conf
if [ "$(hostname)" = "$controller" ]; then slurmctld -c; fi
if [ -n "$node" ]; then slurmd -N "$node"; fi
