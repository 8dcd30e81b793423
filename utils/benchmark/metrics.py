"""The former name of utils.metrics."""
from utils.metrics import Scorer

__all__ = ["Scorer"]
