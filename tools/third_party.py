def learn(uv): pass
def write(): pass
