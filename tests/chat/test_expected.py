"""What an answer must show: for each question a sentence that shows it, and one that does not."""

from __future__ import annotations

import pytest

from analect.chat._expected import expected
from analect.chat._words import extremes, names, stem, stems


@pytest.mark.parametrize(
    ("question", "shows", "does_not"),
    [
        (
            "When was the pier opened?",
            "It was opened in May 1932.",
            "It is opened by the keeper while the tide is low.",
        ),
        ("When must I change the filter?", "Change it every three months.", "The filter is made of paper."),
        ("At what time does it rain?", "Rain falls at three.", "Rain falls on three islands."),
        ("How long has she kept the log?", "She has kept it since 1994.", "She writes the log at 9:00 each morning."),
        ("How long is the list?", "Eleven people are on it.", "The list costs 2 euros."),
        ("How long does a charge take?", "It takes five hours.", "A charge is enough for 65 km."),
        ("How high is the chimney?", "It is 40 metres high.", "It was blown up two years later."),
        ("How old is the head of the board?", "He is fifty-one.", "He has led it since the beginning."),
        ("How many percent does it rise?", "The rent rises by 3.2%.", "The rent rises in 3 towns."),
        ("At how many degrees is it washed?", "Washed at 60 °C.", "Washed 60 times."),
        ("In how many languages is the guide?", "Guides in five languages.", "Guides since 2019."),
        ("How many islands are there?", "There are six of them.", "They were seen on 30 May."),
        ("How many plugins are there?", "There are 14 plugins.", "Plugins were removed in 4.0."),
        ("How many bats were counted?", "There were 312.", "Bats sleep for 90 days."),
        ("How many bins are there?", "There is one bin.", "One side holds bins."),
        ("How much cream is in the soup?", "Stir in half a litre.", "Stir it in off the heat."),
        ("How much does a charge cost?", "It costs £3.", "A charge lasts for a day."),
        ("How fast is the line?", "500 Mbit/s", "The line was laid by 500 people."),
        ("Who built the mill?", "The mill was built by Ned Ashby.", "The mill stands in the Fern Dell."),
        ("Who pays for it?", "It is paid for by the River Trust.", "The River Walk is free."),
        ("Who fixes the washer?", "The landlord sees to that.", "It is fixed with two screws."),
        ("What is the café called?", "It is called The Key.", "It is in the yard."),
        ("What is the guide called?", 'Read "moving house" first.', "Read it first."),
        ("Which architect built the works?", "Built by Anna Lindner.", "The works are in Bramley Street."),
        ("Which town is it made in?", "It is made in Leuven.", "It is made in a factory."),
        ("What is the website of the agency?", "See agency.example for more.", "Write to the agency."),
        ("What is the address of the shop?", "You find it at 3 Tanner's Yard.", "You find it easily."),
        ("Where is the office?", "The office is upstairs.", "The office is small."),
        ("Who do I ask when the tap drips?", "Ask Ludo Brannigan.", "Ask in the morning."),  # the first word decides
    ],
)
def test_the_question_word_tells_what_is_shown(question: str, shows: str, does_not: str) -> None:
    asked = stems(question)
    assert not expected(question).contradicted_by(shows, asked=asked)
    assert expected(question).contradicted_by(does_not, asked=asked)


@pytest.mark.parametrize(
    "question", ["Is it open when it rains?", "Why is it green?", "What lives there?", "boats", ""]
)
def test_other_questions_expect_nothing(question: str) -> None:
    assert expected(question).shown is None
    assert not expected(question).contradicted_by("anything", asked=stems(question))


def test_what_the_question_says_itself_does_not_answer_it() -> None:
    question = "Which bakery in Hinton bakes the bread?"
    assert expected(question).contradicted_by("Bread comes from a bakery in Hinton.", asked=stems(question))


def test_names_and_numbers_are_particular() -> None:
    assert names("What does Error 12 mean to Ned?") == {stem("Error"), "12", stem("Ned")}
    assert names("WHAT DOES THIS ERROR CODE MEAN?") == frozenset()


def test_extremes_single_one_out() -> None:
    assert extremes("What was the top speed of the longest ride?") == {stem("top"), stem("longest")}
    assert extremes("How big is the harvest of the forest?") == frozenset()
