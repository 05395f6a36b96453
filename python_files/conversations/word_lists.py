"""Names by the ten thousand, things, towns and numbers for the drills among the course's own conversations.

A model that meets few names learns them by heart; one that meets a new one every time has to learn to copy
from the text. Each word belongs to one side, by its hash: "train" words may occur in training, "unseen" words
only in the held-out questions, so that a right answer about them can't be remembered.
"""

import hashlib
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from artifacts import package_folder

UNSEEN_SHARE = 0.1
COMMON_NAMES = 400  # of each of the three lists: what most people one meets are called

# One can hold each of these, buy it, put it somewhere, lose it, clean it. Plurals are regular (``drills.plural``).
EVERYDAY_THINGS = """
house: clock mirror candle candlestick vase pillow cushion blanket quilt rug doormat towel lantern lamp lightbulb
  battery key keyring padlock doorbell picture poster ashtray figurine statue hanger hook bucket mop broom dustpan
  duster sponge toothbrush hairbrush comb razor washcloth hamper iron fan heater stool lampshade bookend coaster
  matchbox lighter trunk crate barrel box tin jar bottle flask sack chair armchair basket suitcase drawer footstool
  remote thermometer scale magnet flashlight
kitchen: cup mug glass plate bowl saucer teacup teapot kettle coffeepot pot pan skillet wok lid spoon teaspoon fork
  ladle spatula whisk colander sieve grater peeler corkscrew toaster blender mixer jug pitcher thermos tray napkin
  tablecloth apron cookbook lunchbox breadbox eggcup timer strainer funnel juicer potholder chopstick straw goblet
  platter saltshaker dishcloth casserole
tools and garden: hammer screwdriver wrench drill chisel ladder nail screw bolt clamp axe hatchet crowbar rope chain
  cable plug toolbox paintbrush anvil pump wheelbarrow shovel spade rake hoe trowel pitchfork hose sprinkler flowerpot
  seed bulb gnome birdhouse lawnmower hammock pickaxe compass telescope microscope whistle lens handsaw hinge wheel
  rose tulip daisy sunflower cactus bouquet wreath fern pebble feather seashell pinecone
clothes: hat cap helmet bonnet coat jacket raincoat sweater cardigan vest shirt blouse skirt dress tuxedo suit necktie
  bowtie belt buckle sock stocking shoe boot sandal slipper sneaker glove mitten shawl cape cloak gown bathrobe
  swimsuit uniform costume mask wig button zipper ribbon pin brooch ring bracelet necklace earring pendant locket crown
  tiara wristwatch wallet purse handbag backpack bag briefcase satchel pouch umbrella parasol cane handkerchief bandana
  shoelace hairpin headband poncho hoodie
toys: ball doll dollhouse puppet kite marble puzzle balloon robot rocket sled scooter skateboard tricycle wagon
  chessboard rattle slingshot boomerang frisbee trampoline toy brick crayon sticker stamp coin medal trophy badge flag
  token unicycle snowglobe spinner
food: apple pear peach plum apricot banana lemon lime melon watermelon cherry strawberry raspberry blueberry grape fig
  kiwi mango pineapple coconut avocado grapefruit tangerine olive carrot onion turnip radish cucumber pumpkin eggplant
  pickle mushroom egg bun bagel muffin cupcake cookie biscuit donut pancake waffle croissant pretzel sandwich burger
  taco burrito pizza pie cake tart sausage walnut almond peanut chestnut lollipop candy popsicle cracker dumpling
school and office: book notebook diary pencil pen eraser ruler sharpener marker blackboard stapler folder binder
  envelope postcard map globe calculator textbook dictionary magazine newspaper novel comic atlas calendar bookmark
  notepad clipboard schoolbag easel canvas painting photo photograph album laptop keyboard printer phone telephone radio
  television camera speaker microphone tablet computer charger cassette typewriter thumbtack paperclip sketchbook
  palette ticket passport briefcase parcel
sport: bat racket bicycle bike skate snowboard surfboard paddle oar dumbbell football basketball baseball
  volleyball puck javelin dart dartboard arrow net snorkel wetsuit tent saddle horseshoe stopwatch jersey canteen
music: guitar violin cello flute clarinet trumpet trombone tuba drum drumstick tambourine harp piano accordion harmonica
  banjo mandolin xylophone saxophone oboe bugle gong cymbal maraca recorder bell metronome
"""
# Rarer ones, most of them from the noun list of the package ``wonderwords``.
_RARER_THINGS = """
abacus anklet anorak armband armrest artichoke astrolabe baggie bagpipe balaclava balalaika ballpoint bandanna
bankbook barbecue basin bassoon bathtub bead beanie bib birdcage blackberry blindfold blowgun bobbin bodice bonbon
bongo bonsai bracket bratwurst breadcrumb breadfruit breastplate brochure buoy cameo candelabra cantaloupe cartridge
cassock chalice checkbook cheesecake chip cleat clove cocktail cookpot cord corsage coupon coverall cowbell cravat
crepe crib crutch cube cufflink cummerbund daffodil dandelion decanter diadem dictaphone dinghy diploma dipstick
dirndl disk dogsled doily doorknob doughnut dreamcatcher earplug elderberry espadrille eyepatch faucet fedora fiddle
fishhook flintlock flugelhorn flume flyswatter fondue footrest foxglove futon garland garter gavel gearshift geranium
gherkin girdle gourd guava guestbook gyro hacksaw handball handgrip handlebar hardhat harness hassock hatbox haversack
hazelnut headlight headrest honeydew hotdog hubcap icicle inkwell jackfruit jellybean jewel jumpsuit kaleidoscope
kazoo kebab kerchief kettledrum keychain kilt kimono kumquat ladybug lasso leotard lilac lipstick lunchbag lute lyre
macaroon mailbox mandarin marimba mat meatball medallion menorah menu meringue milkshake millstone moccasin modem
monocle mousepad mousetrap muffler mukluk musket nameplate nectarine nightgown nightlight notecard nutcracker nutmeg
oilcan ottoman overcoat pacifier pail pamphlet panpipe papaya paperback paperweight parachute parka parsnip passbook
peacoat pegboard pendulum peony periscope persimmon petticoat piccolo pillbox pinafore pincushion plunger pocketbook
pomelo poppy postbox projector propeller protractor pushpin quiche quill quiver raft ravioli rib rosebud rowboat
rudder samovar sardine sarong sash saucepan scallop scarecrow scepter scone scroll seesaw sextant shallot shingle
shoehorn shofar shuttlecock snowflake snowshoe snowsuit soapdish sofa softball sombrero spool spotlight spyglass
squeegee steak stencil stethoscope stiletto stirrup stove strongbox stylus sundae sundial sweatshirt sweatsuit sword
tabletop tamale tapestry tassel tatami teakettle teddy telegram terrarium thermostat thimble tile tinderbox toboggan
toga toothpick toque torte tortilla trinket tripod trivet truffle tugboat tunic turban turnstile tutu undershirt urn
videotape visor washbasin washtub weathervane whetstone windchime windshield wrapper yam yoyo zither zucchini
"""
TOWNS = """
Europe: London Paris Berlin Madrid Rome Vienna Prague Warsaw Budapest Lisbon Dublin Athens Brussels Amsterdam Oslo
  Stockholm Helsinki Copenhagen Zurich Geneva Basel Bern Munich Hamburg Cologne Frankfurt Dresden Leipzig Stuttgart
  Bremen Heidelberg Salzburg Innsbruck Graz Milan Venice Florence Naples Turin Genoa Bologna Verona Pisa Siena Palermo
  Barcelona Seville Valencia Granada Malaga Bilbao Toledo Porto Lyon Marseille Nice Bordeaux Toulouse Nantes Lille
  Strasbourg Calais Rotterdam Utrecht Antwerp Ghent Bruges Luxembourg Krakow Gdansk Bratislava Ljubljana Zagreb
  Belgrade Sarajevo Sofia Bucharest Tallinn Riga Vilnius Kyiv Odessa Minsk Moscow Bergen Gothenburg Malmo Aarhus
  Reykjavik Valletta Monaco Istanbul
Britain and Ireland: Manchester Liverpool Birmingham Leeds Sheffield Bristol Oxford Cambridge Brighton York Bath
  Plymouth Southampton Portsmouth Exeter Norwich Nottingham Leicester Coventry Derby Newcastle Durham Lancaster Chester
  Canterbury Dover Hastings Worcester Gloucester Bournemouth Blackpool Ipswich Lincoln Edinburgh Glasgow Aberdeen
  Dundee Inverness Cardiff Swansea Belfast Cork Galway Limerick Winchester Salisbury Windsor Stratford Luton
America: Boston Chicago Houston Dallas Austin Denver Seattle Portland Phoenix Tucson Albuquerque Detroit Cleveland
  Columbus Cincinnati Pittsburgh Philadelphia Baltimore Washington Richmond Norfolk Charlotte Raleigh Charleston
  Savannah Atlanta Miami Tampa Orlando Jacksonville Tallahassee Montgomery Nashville Memphis Knoxville
  Louisville Lexington Indianapolis Milwaukee Madison Minneapolis Omaha Wichita Tulsa Topeka Boulder Boise Spokane
  Sacramento Oakland Pasadena Anaheim Fresno Reno Honolulu Anchorage Juneau Buffalo Rochester Syracuse Albany Hartford
  Providence Concord Burlington Bangor Salem Trenton Newark Princeton Toronto Montreal Vancouver Ottawa Calgary Winnipeg
  Edmonton Halifax Havana Kingston Nassau Cancun Acapulco Lima Bogota Quito Santiago Montevideo Caracas Brasilia
Africa, Asia, Australia: Cairo Alexandria Tunis Algiers Casablanca Marrakesh Dakar Accra Lagos Nairobi Mombasa Kampala
  Johannesburg Durban Pretoria Jerusalem Haifa Beirut Damascus Amman Baghdad Dubai Doha Tehran Kabul Karachi Lahore
  Delhi Mumbai Kolkata Chennai Jaipur Agra Kathmandu Dhaka Colombo Bangkok Hanoi Singapore Jakarta Manila Beijing
  Shanghai Taipei Seoul Busan Tokyo Kyoto Osaka Nagoya Hiroshima Sydney Melbourne Brisbane Perth Adelaide Darwin
  Canberra Hobart Auckland Wellington Christchurch
"""
# Names that would distract.
_UNWANTED = frozenset("adolf hitler kuntz slutsky dickman jesus christ satan".split())
_SYLLABLES = tuple(consonant + vowel for consonant in "bdfgklmnprstvwz" for vowel in "aeiou")
_TOWN_ENDINGS = ("ton", "ford", "burg", "ham", "wick", "field", "port", "stead", "dale", "bridge")


@dataclass(frozen=True)
class Words:
    """What one side draws from. All lists are sorted, so that a seed gives the same words everywhere."""

    side: str
    names: Sequence[str]
    common_names: Sequence[str]  # the most frequent of them: among them are those that are one token
    things: Sequence[str]
    everyday_things: Sequence[str]  # most of what is drawn
    # 10 to 199; the unseen ones are the multiples of 9, so that their sums and differences are unseen too.
    # Digits alone are like letters: both sides need them all.
    numbers: Sequence[int]
    small_numbers: Sequence[int]  # those below 50
    ages: Sequence[int]  # those from 10 to 98
    heights: Sequence[int]  # those from 140 on: how many centimeters tall people are
    made_up_names: Sequence[str]
    towns: Sequence[str]  # real ones and made-up ones
    real_towns: Sequence[str]
    coined_words: Sequence[str]

    def name(self, rng: random.Random) -> str:
        """A person's name: one in two a common one, one in ten made up, the others any of the lists."""
        chance = rng.random()
        return _one(self.common_names if chance < 0.5 else self.made_up_names if chance < 0.6 else self.names, rng)

    def town(self, rng: random.Random) -> str:
        """A place name: five in six are real ones."""
        return _one(self.real_towns if rng.random() < 0.83 else self.towns, rng)

    def coined(self, rng: random.Random) -> str:
        """A made-up common noun."""
        return _one(self.coined_words, rng)

    def thing(self, rng: random.Random) -> str:
        """Something one can hold, buy and put somewhere: six in seven are everyday things."""
        return _one(self.everyday_things if rng.random() < 0.64 else self.things, rng)

    def number(self, rng: random.Random) -> int:
        """A whole number from 10 to 199: two in three are below 50."""
        return _one(self.small_numbers if rng.random() < 0.58 else self.numbers, rng)

    def age(self, rng: random.Random) -> int:
        """A whole number from 10 to 98."""
        return _one(self.ages, rng)

    def height(self, rng: random.Random) -> int:
        """A whole number from 140 to 199."""
        return _one(self.heights, rng)

    def distinct(self, draw, n: int, rng: random.Random) -> list:
        """``n`` different results of ``draw(rng)``."""
        found: dict = {}
        while len(found) < n:
            found[draw(rng)] = None
        return list(found)


def _one(values: Sequence, rng: random.Random):
    """As ``rng.choice``, in a third of the time."""
    return values[int(rng.random() * len(values))]


def _made_up(side: str, what: str, endings: Sequence[str], n: int, taken: frozenset[str]) -> list[str]:
    """``n`` different words of two or three syllables and an ending, none of them ``taken`` (lower case)."""
    rng = random.Random(f"{what} {side}")
    found: dict[str, None] = {}
    while len(found) < n:
        word = "".join(rng.choices(_SYLLABLES, k=rng.randint(2, 3))) + rng.choice(endings)
        if word not in taken and side_of(word) == side:
            found[word] = None
    return list(found)


def side_of(word: str) -> str:
    """``"unseen"`` for a tenth of all words, by the hash of their lower-case spelling, else ``"train"``."""
    value = int.from_bytes(hashlib.sha256(word.lower().encode()).digest()[:4], "big")
    return "unseen" if value < UNSEEN_SHARE * 2**32 else "train"


def _read(path: Path) -> list[str]:
    return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _block(text: str) -> frozenset[str]:
    """The words of a block above, without its headings."""
    return frozenset(re.sub(r"^[^:\n]+:", "", text, flags=re.MULTILINE).split())


@cache
def load_words(side: str, reserved: frozenset[str] = frozenset()) -> Words:
    """The words of one side, ``"train"`` or ``"unseen"``.

    Names are those of the US census (package ``names``), things and real towns the ones written out above; no
    made-up word is a noun, verb or adjective of the package ``wonderwords``.

    Args:
        reserved: lower-case words that the templates themselves use: kept out of both sides.
    """
    census, nouns = package_folder("names"), package_folder("wonderwords") / "assets"
    rude = set(_read(nouns / "profanitylist.txt"))
    by_frequency = [_read(census / file) for file in ("dist.female.first", "dist.male.first", "dist.all.last")]
    common = {w.lower() for one in by_frequency for w in one[:COMMON_NAMES] if 3 <= len(w) <= 9}
    names = {w.lower() for one in by_frequency for w in one if 3 <= len(w) <= 9}
    everyday = _block(EVERYDAY_THINGS) - reserved
    things = everyday | _block(_RARER_THINGS) - reserved
    real_towns = {town for town in _block(TOWNS) if town.lower() not in reserved}
    numbers = [n for n in range(10, 200) if (n % 9 == 0) == (side == "unseen")]
    others = {w for file in ("nounlist.txt", "adjectivelist.txt", "verblist.txt") for w in _read(nouns / file)}
    taken = frozenset(names | things | {town.lower() for town in real_towns} | reserved | others | rude)
    n_made_up = 20_000 if side == "train" else 3_000
    made_up_towns = [w.capitalize() for w in _made_up(side, "town", _TOWN_ENDINGS, n_made_up, taken)]

    def ours(words: Iterable[str]) -> list[str]:
        return sorted(w for w in words if side_of(w) == side)

    return Words(
        side=side,
        made_up_names=[w.capitalize() for w in _made_up(side, "name", ("",), n_made_up // 2, taken)],
        towns=sorted([*ours(real_towns), *made_up_towns]),
        real_towns=ours(real_towns),
        coined_words=_made_up(side, "coined", ("p", "x", "n", "k", "ck", "rm", "lt"), n_made_up, taken),
        names=ours(w.capitalize() for w in names - rude - reserved - _UNWANTED),
        common_names=ours(w.capitalize() for w in common - rude - reserved - _UNWANTED),
        things=ours(things),
        everyday_things=ours(everyday),
        numbers=numbers,
        small_numbers=[n for n in numbers if n < 50],
        ages=[n for n in numbers if n < 99],
        heights=[n for n in numbers if n >= 140],
    )
