# Thin front to Meson: `make demo` sets up and answers a question about a picture, `make test` sets up and runs the tests.
BUILD ?= build
MODEL ?= models/tiny
IMAGE ?= doc/demo.jpg
PROMPT ?= Describe this image.

.PHONY: all demo test reference clean

all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

$(BUILD)/build.ninja:
	scripts/setup.sh
	meson setup $(BUILD)

$(MODEL)/config.json: all
	$(BUILD)/test/support/make_checkpoint --size tiny -o $(MODEL)

# Until a trained default model ships, the demo runs a tiny checkpoint with random weights: it shows the whole way from
# JPEG to text, not sense. MODEL=path/to/FastVLM-0.5B IMAGE=photo.jpg answers for real.
demo: $(MODEL)/config.json
	$(BUILD)/eyelet run -m $(MODEL) -i $(IMAGE) -p "$(PROMPT)" -n 32

test:
	scripts/setup.sh test
	test -e $(BUILD)/build.ninja || meson setup $(BUILD)
	scripts/test.sh $(BUILD)

reference: all
	scripts/reference.sh $(BUILD)

clean:
	rm -rf $(BUILD) build-* models/tiny
