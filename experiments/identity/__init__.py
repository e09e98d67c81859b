"""Do two commits compute the same, bit for bit?"""
