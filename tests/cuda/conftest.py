"""For all tests that need a CUDA device; tools/gpu_check.sh runs them where there is one."""

from __future__ import annotations

import os

# Before the first product on the device: several releases of torch refuse deterministic recipes
# without it, and look only once.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
