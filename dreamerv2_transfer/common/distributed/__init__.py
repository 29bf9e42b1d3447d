"""Training on several devices (`replicas`) and in several processes."""

from __future__ import annotations
