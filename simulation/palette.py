"""Colours of all pictures: those of Okabe and Ito, which any common colour vision tells apart."""

BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK, GREY = [
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
    "#999999",
]
SERIES = (BLUE, ORANGE, GREEN, PINK, SKY, RED, BLACK, GREY)
"""One after the other for curves that have no colour of their own."""
DIVERGING = ("#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fddbc7", "#ef8a62", "#b2182b")
"""From low to high through a light middle, that of ColorBrewer's RdBu."""
BALANCE = {
    "renewables": GREEN,
    "dispatchable units": PINK,
    "batteries, discharging": SKY,
    "from upstream": ORANGE,
    "load": GREY,
    "batteries, charging": BLUE,
    "to upstream": RED,
    "losses": BLACK,
}
"""Sources and uses of energy."""
