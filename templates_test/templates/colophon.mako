<p class="colophon">The Saltmere Courier, printed daily on Ropewalk.
<a href="/about">About this paper</a></p>
