# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# In the root: installs the packages, as a user does; dkms builds for every kernel whose headers are there.
set -eu
apt-get -q -y --no-install-recommends install /packages/*.deb
