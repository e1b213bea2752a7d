"""Every way to write batch norm that people ask about, each as a program that trains and saves.

`catalog.PROGRAMS` lists them; tools/zoo_table.py trains them and takes them through bnopt. A module
beside this one is one family of programs. TensorFlow is imported by those only, and each program
runs in a process of its own: graphs, precision policies and the choice of Keras are global.
"""
