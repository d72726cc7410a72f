#!/bin/sh
# Runs before the files of the deb or rpm are removed. An update stops nothing.
set -e
name=sockerless-backend-azf

case "$1" in
remove | 0) # deb: remove; rpm: the number of versions that remain
	if [ -z "${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ]; then
		systemctl disable --now "$name.socket" "$name.service"
	fi
	;;
esac
