"""One or two examples of every command, for the end of its `--help`."""

from __future__ import annotations

EXAMPLES = {
    "list": (
        "list methods",
        "list methods dkd",
        'list methods --pair "resnet32x4 -> resnet8x4"',
        "list published tian2020crd",
    ),
    "check": ('check my_method.py --pair "resnet20 -> resnet8"',),
    "plan": ("plan experiments/digits.yaml", "plan experiments/cifar100.yaml --no-timing"),
    "run": (
        "run experiments/digits.yaml",
        'run experiments/cifar100.yaml --methods kd crd --pairs "resnet56 -> *" --trials 0',
    ),
    "submit": (
        "submit experiments/cifar100.yaml --dry-run",
        "submit experiments/cifar100.yaml --partition gpu --yes --wait",
    ),
    "status": (
        "status experiments/digits.yaml --each",
        "status experiments/cifar100.yaml --watch 60",
    ),
    "doctor": ("doctor", "doctor experiments/cifar100.yaml --partition gpu"),
    "logs": ("logs 7a77c0ffee",),
    "cancel": ('cancel experiments/cifar100.yaml --pairs "vgg13 -> *"',),
    "retry": ("retry experiments/digits.yaml --methods crd",),
    "accept": ("accept experiments/digits.yaml",),
    "table": (
        "table experiments/digits.yaml",
        "table experiments/cifar100.yaml --output table.tex --macros numbers.tex",
        "table experiments/digits.yaml --sort average --columns pairs average delta",
        "table experiments/cifar100.yaml --check table.tex --macros numbers.tex",
        "table experiments/cifar100.yaml --published tian2020crd",
    ),
    "report": (
        "report experiments/digits.yaml --output report",
        "report results/boards/cifar100-small.jsonl --output board.html --single-file",
        "report experiments/cifar100.yaml --output report --every 60",
        "report experiments/cifar100.yaml --figures figures --published tian2020crd",
    ),
    "collect": (
        "collect runs --output board.jsonl",
        "collect runs /scratch/her/runs --matrix experiments/digits.yaml --output digits.jsonl",
    ),
    "evaluate": (
        "evaluate resnet56.pth --dataset cifar100",
        "evaluate 7a77c0ffee --against 5eedbeef01",
        "evaluate --matrix experiments/digits.yaml",
    ),
    "export": ("export 7a77c0ffee --output student.safetensors",),
    "clean": ("clean experiments/digits.yaml",),
    "completion": (
        "completion bash > ~/.local/share/bash-completion/completions/benchmark.py",
        "completion zsh > ~/.zfunc/_benchmark.py",
    ),
}


def epilog(verb: str) -> str:
    """What the help of a command ends with."""
    lines = [f"  benchmark.py {example}" for example in EXAMPLES.get(verb, ())]
    return "\n".join(["examples:", *lines]) if lines else ""
