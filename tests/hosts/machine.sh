#!/bin/bash
# machine.sh NAME   the first process of one of world.sh's machines: makes file systems and names its own, starts sshd, collects
# processes that have ended.
set -eu
name=$1
own=$FOLDER/$name
trap 'touch "$own/failed"' ERR
hostname "$name"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$own/etc,workdir=$own/work" /etc
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/sshd
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
# A /root of its own, in which the interpreter of the project's environment may lie.
case $PYTHON_HOME in
/root/*)
    mkdir -p "$own$PYTHON_HOME"
    mount --bind "$PYTHON_HOME" "$own$PYTHON_HOME"
    mount -o remount,bind,ro "$own$PYTHON_HOME"
    ;;
esac
mount --rbind "$own/root" /root
mkdir -p "$own/home/me" "$own/home/us"
mount --bind "$own/home" /home
mount --bind "$FOLDER/shared/us" /home/us
mount --bind "$PROJECT" "$PROJECT"
mount -o remount,bind,ro "$PROJECT"
mount --bind "$own/var" /var/spool
mkdir -p /var/spool/slurmd /var/spool/slurmctld
# A /tmp of its own, in which the project and these files may lie.
chmod 1777 "$own/tmp"
for place in "$FOLDER" "$PROJECT"; do
    case $place in /tmp/*)
        mkdir -p "$own/tmp/${place#/tmp/}"
        mount --bind "$place" "$own/tmp/${place#/tmp/}"
        ;;
    esac
done
mount --rbind "$own/tmp" /tmp
echo "$name" >/etc/hostname
tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
{
    echo "127.0.0.1 localhost"
    cat "$FOLDER/hosts"
} >/etc/hosts
useradd --uid 7001 --home-dir /home/me --shell /bin/bash --no-create-home me
useradd --uid 7002 --home-dir /home/us --shell /bin/bash --no-create-home us
chown me: /home/me
chown us: /home/us
chmod 750 /home/me /home/us
rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
until [ -e "$own/connected" ]; do sleep 0.02; done
/usr/sbin/sshd -E /run/sshd.log -o UseDNS=no
touch "$own/ready"
trap - ERR
while :; do sleep 3600 & wait $! || true; done
