#!/usr/bin/env bash
# Check a CUDA GPU: run the tests that need one, then measure what a training step costs on it.
#
#     tools/gpu_check.sh [FOLDER]      writes FOLDER/<device>.md; FOLDER is results/gpu by default
#
# Takes less than eight minutes and no network, and installs nothing. Python is $PYTHON, else the
# checkout's .venv, else python3. CIFAR-100 is read from data/ if present, else noise of its
# shape is made. Exit codes: 0 success, 1 a test or a measurement failed, 2 something is missing.
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=$(realpath -m "${1:-$checkout/results/gpu}")
cd "$checkout"

missing() {
    local how="on a machine with a CUDA GPU and what requirements-dev.txt lists"
    printf 'gpu_check: %s\n' "$1" "$how: [PYTHON=/path/to/python] tools/gpu_check.sh" >&2
    exit 2
}

find_python() {
    if [[ -n ${PYTHON:-} ]]; then
        echo "$PYTHON"
    elif [[ -x .venv/bin/python ]]; then
        echo .venv/bin/python
    else
        echo python3
    fi
}

# What Python prints for a snippet; where that fails, the last line of its complaint.
ask() {
    "$python" -c "$1" 2>"$scratch/complaint" || {
        missing "$python: $(tail -n 1 "$scratch/complaint")"
    }
}

driver() {
    nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1 || echo unknown
}

tests() {
    local files
    mapfile -t files < <(grep -rl --include='test_*.py' 'mark\.cuda' tests)
    "$python" -m pytest -m cuda -rfE --tb=short -p no:cacheprovider "${files[@]}"
}

cost() {
    "$python" tools/reports/cost.py --device cuda --precision "$1" --memory-format "$2" \
        --output "$scratch/$1.md"
}

# pytest's last line and what failed, as a code block.
summary() {
    local log=$scratch/tests.log
    { grep -E '^(FAILED|ERROR) |(passed|failed|skipped|error).* in ' "$log" || tail -n 5 "$log"; } |
        sed 's/^/    /'
}

# A measurement's tables, or that it failed.
tables() {
    if [[ -s $scratch/$1.md ]]; then
        cat "$scratch/$1.md"
    else
        printf '## Cost of a step, %s\n\nfailed\n' "$1"
    fi
}

page() {
    printf '# %s\n\n' "$device"
    printf -- '- driver %s; %s\n' "$(driver)" "$versions"
    printf -- '- commit %s; %s; %d seconds\n\n' "$commit" "$(date -u +%Y-%m-%d)" "$SECONDS"
    printf '## Tests\n\n%s\n\n' "$(summary)"
    tables fp32
    echo
    tables bf16
}

python=$(find_python)
command -v "$python" >/dev/null || missing "no $python"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
ask 'import pytest, experiments.train.trainer, results.render' >/dev/null
device=$(ask 'import torch
print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else "")')
[[ -n $device ]] || missing "torch sees no CUDA device"
versions=$(ask 'import platform, torch
cudnn = torch.backends.cudnn.version()
print(f"CUDA {torch.version.cuda}, cuDNN {cudnn}, torch {torch.__version__}, "
      f"Python {platform.python_version()}")')
commit=$(git rev-parse HEAD 2>/dev/null || echo unknown)
if [[ -n $(git status --porcelain 2>/dev/null || true) ]]; then commit="$commit with changes"; fi

code=0
tests 2>&1 | tee "$scratch/tests.log" || code=1
cost fp32 auto || code=1
cost bf16 channels_last || code=1

mkdir -p "$folder"
file=$folder/$(tr -cs 'A-Za-z0-9.\n' - <<<"$device").md
page >"$scratch/page.md"
mv "$scratch/page.md" "$file"
echo "wrote $file"
exit "$code"
