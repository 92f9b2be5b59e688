"""The small worlds, of which every history is walked."""

from .world import World

PUT = "put"

WORLDS = [
    World("one upload, three deliveries", setup=(("put", "a.jpg", "A", "3"),), calm=True),
    World(
        "two versions, two deliveries each",
        setup=(("put", "a.jpg", "A", "2"),),
        actors=((("put", "a.jpg", "B", "2"),),),
        calm=True,
    ),
    World("A, B, A", setup=(("put", "a.jpg", "A"),), actors=((("put", "a.jpg", "B"), ("put", "a.jpg", "A")),), calm=True),
]
BY_NAME = {world.name: world for world in WORLDS}
