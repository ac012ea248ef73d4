def test_x(done):
    import time

    t = time.time()
    assert done.run("group") == 0
    print("group again", time.time() - t)
    assert done.differs() == []
    t = time.time()
    assert done.run("participant") == 0
    print("part again", time.time() - t)


def test_y(bench):
    import time

    t = time.time()
    assert bench.run("participant", "--participant-label", "01") == 0
    print("one", time.time() - t)
    assert bench.differs(person="01") == []
    t = time.time()
    assert bench.run("group") == 0
    print("all", time.time() - t)
    assert bench.differs() == []
