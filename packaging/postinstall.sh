#!/bin/sh
# Runs after the files of the deb or rpm are in place. dpkg sets DPKG_ROOT when it installs into another root.
set -e
name=sockerless-backend-azf
root="${DPKG_ROOT:-}"

case "$1" in
configure | 1 | 2) ;; # deb: configure; rpm: the number of installed versions
*) exit 0 ;;
esac

if ! grep -q "^$name:" "$root/etc/group"; then
	groupadd ${root:+--prefix "$root"} --system "$name"
fi
if ! grep -q "^$name:" "$root/etc/passwd"; then
	useradd ${root:+--prefix "$root"} --system --gid "$name" --no-create-home \
		--home-dir "/var/lib/$name" --shell /usr/sbin/nologin "$name"
fi
# By number: in another root, the name means nothing to chown.
user=$(sed -n "s/^$name:[^:]*:\([0-9]*\):.*/\1/p" "$root/etc/passwd")
group=$(sed -n "s/^$name:[^:]*:\([0-9]*\):.*/\1/p" "$root/etc/group")

# The state folder is not a file of the package, so that no removal of the package touches it.
mkdir -p "$root/var/lib/$name"
chown "$user:$group" "$root/var/lib/$name"
chmod 0700 "$root/var/lib/$name"
# Only the daemon reads its configuration, which may hold passwords. Members of the group may use the socket, no more.
chown "0:$group" "$root/etc/$name"
if [ -e "$root/etc/$name/config.yaml" ]; then
	chown "$user:0" "$root/etc/$name/config.yaml"
fi

if [ -z "$root" ] && [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi

# An update of a deb names the old version; an rpm counts 2.
if { [ "$1" = configure ] && [ -n "$2" ]; } || [ "$1" = 2 ]; then
	echo "$name: a running daemon goes on with the old version. When it suits you:"
	echo "  systemctl restart $name.service"
else
	echo "$name: nothing is started yet. Fill in /etc/$name/config.yaml, then:"
	echo "  $name config print"
	echo "  systemctl enable --now $name.socket $name.service"
	echo "Users who may run containers belong to the group $name: usermod --append --groups $name USER"
fi
