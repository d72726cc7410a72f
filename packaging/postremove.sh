#!/bin/sh
# Runs after the files of the deb or rpm were removed. The state stays, also on purge: it alone knows what runs in Azure.
set -e
name=sockerless-backend-azf
root="${DPKG_ROOT:-}"

case "$1" in
remove | purge | 0) ;; # rpm: 0 versions remain
*) exit 0 ;;
esac

if [ -z "$root" ] && [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
if [ "$1" != remove ]; then
	rm -rf "$root/var/cache/$name" # terraform and azurerm, which the daemon obtains again
fi
if [ -e "$root/var/lib/$name" ]; then
	echo "$name: /var/lib/$name and the user $name are left: the state there names the containers that exist in Azure."
	echo "When no container is left, remove them: rm -r /var/lib/$name; userdel $name"
fi
if [ "$1" = purge ] && [ -n "$(ls -A "$root/etc/$name" 2>/dev/null)" ]; then
	echo "$name: /etc/$name is left: it holds files that are not the package's, perhaps passwords."
fi
