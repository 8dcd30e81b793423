"""What the tests of the Predictor ask for: a lively model, and a runtime that paints."""
import pytest
from predictor_tools import Painter, lively_model

from solution import ISModel


@pytest.fixture(scope="session")
def model() -> ISModel:
    """Random weights whose predictions nevertheless depend on all that the network sees."""
    return lively_model()


@pytest.fixture
def painter() -> Painter:
    return Painter()
