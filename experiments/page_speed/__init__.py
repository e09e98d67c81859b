"""How fast does the report of a large run load and respond in a browser?"""
