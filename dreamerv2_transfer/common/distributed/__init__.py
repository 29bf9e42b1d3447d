"""Training on several devices (`replicas`) and in several processes; cores and GPUs."""

from __future__ import annotations
