"""Optimizers, schedules, strategies, progress, and the run itself. The train step is in `tasks/task.py`."""
