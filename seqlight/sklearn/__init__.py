"""Classifiers of sequences with the interface of scikit-learn."""

from seqlight.sklearn.recurrent_classifier import RecurrentClassifier

__all__ = ["RecurrentClassifier"]
