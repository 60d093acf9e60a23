#!/bin/bash
# world.sh FOLDER PROJECT PYTHON_HOME MACHINE...   a small computer network on this machine; run by machines.py as root, in network,
# mount and process namespaces of its own. Everything ends with this process, which ends with its standard input: nothing is
# left, however those end who use it. FOLDER is empty; what is written there is in memory, and seen in the namespaces only.
set -eu
here=$(dirname "$(readlink -f "$0")")
export FOLDER=$1 PROJECT=$2 PYTHON_HOME=$3 HERE=$here
shift 3
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$FOLDER"
mkdir -p "$FOLDER/shared/us"
ip link add switch type bridge
ip link set switch up
: >"$FOLDER/hosts"
number=10
for name in "$@"; do echo "10.77.0.$number $name" >>"$FOLDER/hosts"; number=$((number + 1)); done
while read -r address name; do
    mkdir -p "$FOLDER/$name"/{etc,work,tmp,root,home,var}
    unshare --net --uts --ipc --mount --pid --fork --kill-child --mount-proc \
        setsid bash "$here/machine.sh" "$name" </dev/null >"$FOLDER/$name/log" 2>&1 &
    machine=$!
    while [ "$(readlink "/proc/$machine/ns/net")" = "$(readlink /proc/self/ns/net)" ]; do
        kill -0 $machine || { cat "$FOLDER/$name/log"; exit 1; }
        sleep 0.02
    done
    ip link add "to-$name" type veth peer name eth0 netns $machine
    ip link set "to-$name" master switch up
    nsenter --target $machine --net ip addr add "$address/24" dev eth0
    nsenter --target $machine --net ip link set lo up
    nsenter --target $machine --net ip link set eth0 up
    touch "$FOLDER/$name/connected"
done <"$FOLDER/hosts"
for name in "$@"; do
    until [ -e "$FOLDER/$name/ready" ]; do
        [ -e "$FOLDER/$name/failed" ] && { cat "$FOLDER/$name/log"; exit 1; }
        sleep 0.05
    done
done
echo up
# A child that may be interrupted does the waiting, so that those that end meanwhile are collected.
cat >/dev/null || true
