#!/bin/sh
# Stands in for a program that runs once, after all packages are configured.
: > "/run/trivet-late/${0##*/}"
