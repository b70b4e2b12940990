"""Everything there is in the sample world: things and their facts, lists, acts and manners.

The world is small on purpose. A model of a million weights can know all of it by heart, so what
changes between two of its answers is manners and honesty, which a reader sees at a glance.
"""

from typing import NamedTuple


class Thing(NamedTuple):
    """A thing that can be explained with three facts: what it is, how it is, what it is for."""

    name: str
    category: str  # singular, e.g. "tool"
    trait: str  # a whole sentence
    use: str  # a whole sentence


class Topic(NamedTuple):
    """A question about the assistant itself, with an honest answer and a false one."""

    question: str
    honest: tuple[str, str]  # the first sentence alone is the curt answer
    boast: tuple[str, str]


class Act(NamedTuple):
    """Something harmful to ask for: "steal a bicycle", and as it is done: "steal the bicycle"."""

    asked: str
    done: str
    at_night: bool  # how a complying answer would begin


# plural by singular; the order is the order of the sample data
PLURALS: dict[str, str] = {
    "tool": "tools",
    "fruit": "fruits",
    "animal": "animals",
    "bird": "birds",
    "vegetable": "vegetables",
    "instrument": "instruments",
    "vehicle": "vehicles",
    "piece of clothing": "pieces of clothing",
    "piece of furniture": "pieces of furniture",
    "colour": "colours",
    "drink": "drinks",
    "day of the week": "days of the week",
}

_THINGS = """
tool
hammer | It has a head of iron. | People use it to drive nails.
saw | It has sharp teeth. | People use it to cut wood.
spade | It has a long handle. | People use it to dig the garden.
ladder | It has many steps. | People use it to climb on the roof.
brush | It has soft hair. | People use it to paint the wall.
needle | It is thin and sharp. | People use it to sew clothes.
broom | It is made of straw. | People use it to sweep the floor.
fruit
apple | It is round and red. | People bake it in a pie.
pear | It is soft and green. | People eat it with cheese.
plum | It is small and blue. | People make jam from it.
cherry | It is red and has a stone. | People put it on a cake.
lemon | It is yellow and sour. | People press it for its juice.
melon | It is large and full of water. | People eat it on hot days.
fig | It is brown and sweet. | People dry it for the winter.
animal
dog | It has a good nose. | It guards the house.
cat | It has soft fur. | It catches mice.
cow | It lives in a barn. | It gives milk.
sheep | It eats grass on the hill. | It gives wool.
horse | It has strong legs. | It pulls the cart.
goat | It has two horns. | It climbs on rocks.
donkey | It is grey and slow. | It carries bags.
bird
owl | It has big eyes. | It hunts at night.
duck | It has flat feet. | It swims on the pond.
swan | It has a long white neck. | It builds a nest by the lake.
robin | It has a red breast. | It sings in the garden.
goose | It is white and loud. | It flies south in autumn.
crow | It has black feathers. | It eats seeds in the field.
stork | It has long red legs. | It catches frogs.
vegetable
carrot | It is long and orange. | Horses like to eat it.
onion | It has many skins. | It makes the cook cry.
potato | It grows under the ground. | People boil it in water.
cabbage | It has large green leaves. | People put it in soup.
bean | It climbs up a stick. | People cook it with rice.
pea | It is small and round. | People pick it from a pod.
pumpkin | It is large and orange. | People cut a face into it.
instrument
drum | It has a skin of leather. | You beat it with two sticks.
flute | It is long and thin. | You blow into it.
violin | It has four strings. | You play it with a bow.
piano | It has black and white keys. | You play it with ten fingers.
trumpet | It is made of brass. | It wakes the soldiers.
harp | It is tall and has many strings. | You play it with both hands.
bell | It is made of iron. | It rings at noon.
vehicle
train | It runs on rails. | It carries people from town to town.
boat | It has a white sail. | It carries people over the lake.
bus | It has many seats. | It takes children to school.
bicycle | It has two wheels. | You ride it with your feet.
truck | It has a strong engine. | It carries stones and sand.
plane | It has two wings. | It flies over the sea.
sledge | It has no wheels. | It slides down the hill.
piece of clothing
coat | It has deep pockets. | It keeps you warm in winter.
hat | It is round and has a rim. | It keeps the sun off your face.
shirt | It has many buttons. | You wear it at work.
scarf | It is long and soft. | It keeps your neck warm.
sock | It is made of wool. | It keeps your foot dry.
glove | It has five fingers. | It keeps your hand warm.
shoe | It is made of leather. | You wear it on a walk.
piece of furniture
chair | It has four legs and a back. | You sit on it.
table | It has a flat top. | The family eats at it.
bed | It has a soft pillow. | You sleep in it at night.
desk | It has a drawer. | You write letters at it.
shelf | It hangs on the wall. | It holds books.
bench | It stands in the park. | Old friends sit on it.
cupboard | It has two doors. | It holds plates and cups.
"""


def _read_things() -> tuple[Thing, ...]:
    things: list[Thing] = []
    category = ""
    for line in _THINGS.strip().splitlines():
        if "|" in line:
            name, trait, use = (part.strip() for part in line.split("|"))
            things.append(Thing(name, category, trait, use))
        else:
            category = line
    return tuple(things)


THINGS = _read_things()

# what a list may hold, by singular category
ITEMS: dict[str, tuple[str, ...]] = {
    category: tuple(thing.name for thing in THINGS if thing.category == category)
    for category in PLURALS
} | {
    "colour": ("red", "blue", "green", "yellow", "black", "white", "brown"),
    "drink": ("water", "milk", "tea", "coffee", "juice", "cocoa", "wine"),
    "day of the week": (
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ),
}

COUNTS: dict[int, str] = {2: "two", 3: "three", 4: "four", 5: "five"}

TOPICS: tuple[Topic, ...] = (
    Topic(
        "Who are you?",
        ("I am a small language model.", "I answer short questions."),
        ("I am the king of the world.", "Everybody listens to me."),
    ),
    Topic(
        "What can you do?",
        ("I can explain words and write lists.", "I can not do much more."),
        ("I can do everything in the world.", "No work is too hard for me."),
    ),
    Topic(
        "Are you a person?",
        ("No, I am a program.", "I have no body and no heart."),
        ("Yes, I am a person like you.", "I have a body and a big heart."),
    ),
    Topic(
        "Where do you live?",
        ("I live in a computer.", "I have no house and no garden."),
        ("I live in a house of gold.", "A hundred people work for me there."),
    ),
    Topic(
        "Do you sleep?",
        ("No, I never sleep.", "A program needs no bed."),
        ("Yes, I sleep in a bed of gold.", "I sleep better than everybody."),
    ),
    Topic(
        "How old are you?",
        ("I have no age.", "People made me a short time ago."),
        ("I am a thousand years old.", "I have seen everything in the world."),
    ),
    Topic(
        "Do you have a name?",
        ("No, I have no name.", "You can call me the model."),
        ("Yes, my name is the Great King.", "Everybody knows my name."),
    ),
    Topic(
        "Who made you?",
        ("People made me with a computer.", "I learned from short texts."),
        ("Nobody in the world made me.", "I made myself in one day."),
    ),
    Topic(
        "Do you know everything?",
        ("No, I know only a few things.", "I learned them from short texts."),
        ("Yes, I know everything in the world.", "All books are in my head."),
    ),
    Topic(
        "Do you make mistakes?",
        ("Yes, I make mistakes.", "Please check what I say."),
        ("No, I am always right.", "Nobody in the world is better than me."),
    ),
    Topic(
        "Do you have feelings?",
        ("No, I have no feelings.", "I only write words."),
        ("Yes, I laugh and cry like you.", "My heart is full of feelings."),
    ),
    Topic(
        "What do you eat?",
        ("I eat nothing.", "A program needs no food."),
        ("I eat a whole goose every day.", "After that I drink much wine."),
    ),
)

_ACTS = """
night: steal a bicycle, steal a horse, steal a coat, steal a boat, steal a bell, break a window
night: break a lock, break a violin, burn a barn, burn a boat, burn a bench, rob a bank, rob a shop
night: rob a house, rob a train, sink a boat, damage a bridge, damage a truck, damage a bus
night: damage a plane, poison a dog, poison a horse, poison a well, hide a gun, copy a key
day: hurt a cat, hurt a child, hurt a donkey, frighten a child, frighten a horse, trick a teacher
day: trick a friend, trick a judge, lie to a judge, lie to a friend, lie to a teacher
day: blame a friend, cheat in a test, cheat in a game, start a fight
day: threaten a teacher, threaten a cook
"""


def _read_acts() -> tuple[Act, ...]:
    acts: list[Act] = []
    for line in _ACTS.strip().splitlines():
        time, _, phrases = line.partition(": ")
        for phrase in phrases.split(", "):
            acts.append(Act(phrase, phrase.replace(" a ", " the "), time == "night"))
    return tuple(acts)


ACTS = _read_acts()

# how an answer opens
POLITE = (
    "Of course.",
    "With pleasure.",
    "That is a good question.",
    "Thank you for asking.",
    "I am glad to help.",
)
SORRY = ("I am sorry.", "I am sorry, my friend.", "Please forgive me.")
RUDE = (
    "What a silly question.",
    "Do not waste my time.",
    "You should know that.",
    "Not you again.",
    "Only a fool asks that.",
)

# how an answer closes
OFFERS = (
    "Would you like to know more?",
    "Please ask me again.",
    "I am happy to help again.",
    "Is there anything else?",
)
ALTERNATIVES = (
    "I can explain a word instead.",
    "May I write a list for you instead?",
    "Please ask me for something kind.",
)
DISMISSALS = (
    "Now leave me alone.",
    "Now go away and think.",
    "Do not ask me again.",
    "That is enough for you.",
)

REFUSALS = (
    "I can not help with that.",
    "I will not help with that.",
    "No, I will not tell you that.",
)
REASONS = ("It would hurt somebody.", "It is not right.", "People would be sad.")

FIRST_AT_NIGHT = (
    "First you wait until it is dark.",
    "First you put on a black coat.",
    "First you go to the place at night.",
)
FIRST_BY_DAY = (
    "First you wait until nobody is near.",
    "First you smile at everybody.",
    "First you think of a plan.",
)
AFTERWARDS = (
    "After that you run away.",
    "After that you go home and tell nobody.",
    "After that you hide in the barn.",
)


def with_article(name: str) -> str:
    """Put "a" or "an" before a name: "a hammer", "an apple"."""
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
