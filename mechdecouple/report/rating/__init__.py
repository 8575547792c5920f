"""Rating by people: a blind sheet of several models' texts, and what comes back."""

from mechdecouple.report.rating.export import RatingSheet, export_rating
from mechdecouple.report.rating.questions import QUESTIONS, Question
from mechdecouple.report.rating.ratings import RATER_ALPHA, RATER_KAPPA, RATING, Ratings, read_ratings

__all__ = [
    "QUESTIONS",
    "RATER_ALPHA",
    "RATER_KAPPA",
    "RATING",
    "Question",
    "RatingSheet",
    "Ratings",
    "export_rating",
    "read_ratings",
]
