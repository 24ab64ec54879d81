## What is the reader's own.  The user is no argument but stands in the
## context, and so has to be in cache_vary.

<%def name="box(beside=0)" cached="True" cache_region="short"
      cache_vary="${(user.id,)}">
<section class="panel reader">
% if user.name:
<h2>For you, ${user.name}</h2>
<p>You have read ${len(user.read)} of our reports\
% if user.interests:
 and follow ${" and ".join(sections[slug] for slug in user.interests)}\
% endif
.</p>
% else:
<h2>Good morning</h2>
<p>Here is what other readers have kept for the tram.</p>
% endif
<ol class="links">
% for article in news.recommend(user.interests, (*user.read, beside) if beside else user.read):
<li><a href="${article.path}">${article.headline}</a></li>
% endfor
</ol>
</section>
</%def>
