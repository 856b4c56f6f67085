// A table that is wider than its place says so, in words beside it, as long as it is.
const watch = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const place = target.closest(".scroll");
    place.nextElementSibling.hidden = place.scrollWidth <= place.clientWidth + 1;
  }
});
for (const place of document.querySelectorAll(".scroll")) {
  const hint = document.createElement("p");
  hint.className = "hint";
  hint.textContent = "This table goes on to the right: scroll it sideways →";
  hint.hidden = true;
  place.after(hint);
  watch.observe(place);
  watch.observe(place.firstElementChild);
}

