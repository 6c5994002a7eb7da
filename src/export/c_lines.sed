# Each line of a text as a C string and a comma.
s/\\/\\\\/g
s/"/\\"/g
s/.*/"&",/
