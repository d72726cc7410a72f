#!/bin/sh
# What examples/hello does, as a script: it greets, prints a line on stderr and ends with the code that it gets.
code=0
if [ "$1" = -exit ]; then
	code=$2
	shift 2
fi
echo "${GREETING:-Hello}, $*!"
echo "run $AZF_RUN_ID ends with code $code" >&2
exit "$code"
